import { expect, test } from 'vitest'
import { doublingMs, fullJitterMs } from '#mesh/backoff.ts'

test('a wait doubles with each failure in a row, up to its maximum', () => {
  expect([0, 1, 2, 3, 4, 5, 1000].map((failures) => doublingMs(failures, 100, 1000))).toEqual([100, 100, 200, 400, 800, 1000, 1000])
})

test('full jitter is anything from 0 up to the wait', () => {
  const waits = Array.from({ length: 1000 }, () => fullJitterMs(100))
  expect(Math.min(...waits)).toBeLessThan(10)
  expect(Math.max(...waits)).toBeGreaterThan(90)
  expect(waits.every((ms) => ms >= 0 && ms < 100)).toBe(true)
})
