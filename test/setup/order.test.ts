import fc from 'fast-check'
import { expect, test } from 'vitest'
import { spread } from './order.ts'

test('files are spread among others evenly, and what is short comes at the end', () => {
  expect(spread(['A', 'B'], ['a', 'b', 'c', 'd', 'e'])).toEqual(['A', 'a', 'b', 'B', 'c', 'd', 'e'])
})

test('however many there are, all of them run, once, and each kind in its order', () => {
  fc.assert(
    fc.property(fc.nat(30), fc.nat(200), (some, others) => {
      const journeys = Array.from({ length: some }, (_, index) => index)
      const rest = Array.from({ length: others }, (_, index) => 1000 + index)
      const all = spread(journeys, rest)
      expect(all.filter((each) => each < 1000)).toEqual(journeys)
      expect(all.filter((each) => each >= 1000)).toEqual(rest)
    }),
  )
})
