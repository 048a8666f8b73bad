import fc from 'fast-check'
import { expect, test } from 'vitest'
import { inWindows, windowMsOf } from '../../gate/windows.ts'

const minute = 60_000

test.each([
  [10 * minute, minute, 10],
  [3 * minute, minute, 3],
  [15_000, 5000, 3],
  [200_000, minute, 4],
])('a run of %i ms is looked at in windows of %i ms', (runMs, windowMs, count) => {
  expect(windowMsOf(runMs)).toBe(windowMs)
  expect(inWindows([], runMs).counts).toHaveLength(count)
})

const moments = fc.array(fc.record({ atMs: fc.integer({ min: 0, max: 10 * minute }), bad: fc.boolean() }))

test('nothing is lost or counted twice', () => {
  fc.assert(
    fc.property(moments, fc.integer({ min: 1000, max: 10 * minute }), (all, runMs) => {
      const { counts } = inWindows(all, runMs)
      expect(counts.reduce((sum, { requests }) => sum + requests, 0)).toBe(all.length)
      expect(counts.reduce((sum, { bad }) => sum + bad, 0)).toBe(all.filter(({ bad }) => bad).length)
    }),
  )
})

test('the longest row is the one of the windows that have an error, whichever they are', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 3, maxLength: 12 }), (bad) => {
      const all = bad.map((each, index) => ({ atMs: index * minute + 30_000, bad: each }))
      const row = Math.max(
        ...bad
          .map(String)
          .join(' ')
          .split('false')
          .map((part) => part.split('true').length - 1),
      )
      expect(inWindows(all, bad.length * minute).longest).toBe(row)
    }),
  )
})
