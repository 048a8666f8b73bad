import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { whenToCollect } from '#mesh/idle.ts'

/** A process that makes garbage for a while and then rests, and says how often it was collected while it did. */
const program = (work: string) => `
  import { PerformanceObserver, constants } from 'node:perf_hooks'
  import { collectWhenIdle } from '${new URL('../../mesh/idle.ts', import.meta.url).href}'
  let forced = 0
  const real = globalThis.gc
  globalThis.gc = (options) => { forced += 1; return real(options) }
  collectWhenIdle()
  ${work}
  setTimeout(() => console.log(forced), 8000)
`
const run = async (work: string) =>
  (await promisify(execFile)('node', ['--expose-gc', '--input-type=module', '-e', program(work)])).stdout.trim()

test('a process that worked is collected once when it is idle, and an idle one is left alone', async () => {
  const work = 'setTimeout(() => { const until = performance.now() + 1500; while (performance.now() < until) JSON.parse("[1,2,3]") }, 100)'
  expect(await Promise.all([run(work), run('')])).toEqual(['1', '0'])
})

/** The looks at which a process is collected that works for these shares of each in turn. */
const collections = (shares: readonly number[]): number[] => {
  const isDue = whenToCollect()
  return shares.flatMap((share, look) => (isDue(share) ? [look] : []))
}
/** From each to the next. */
const gaps = (at: readonly number[]): number[] => at.slice(1).map((look, index) => look - at[index]!)
const looks = (count: number, share: number): number[] => Array.from({ length: count }, () => share)

describe('a process is collected', () => {
  test('at most once per minute under a steady load, however light', () => {
    for (const share of [0.01, 0.03, 0.09]) {
      const at = collections(looks(1000, share))
      expect(at.length, String(share)).toBeGreaterThan(10)
      expect(Math.min(...gaps(at))).toBe(60)
    }
  })

  test('never while it works, nor after almost no work', () => {
    expect(collections(looks(1000, 0.2))).toEqual([])
    expect(collections(looks(100, 0.001))).toEqual([])
  })

  test('after each burst, when it was idle for four samples', () => {
    expect(collections([0.9, 0, 0, 0])).toEqual([])
    expect(collections([0.9, 0, 0, 0, 0, 0])).toEqual([4])
    expect(collections([0.9, ...looks(20, 0), 0.9, ...looks(20, 0)])).toEqual([4, 25])
    expect(collections([0.9, 0, 0, 0.2, 0, 0, 0.2, 0, 0, 0])).toEqual([])
  })

  test('at most once in ten samples, however the bursts come', () => {
    const at = collections(looks(60, 0).flatMap(() => [0.9, 0, 0, 0, 0]))
    expect(Math.min(...gaps(at))).toBe(10)
  })
})
