import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

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

test('a process that worked is collected once when it rests, and one that did nothing is left alone', async () => {
  const work = 'setTimeout(() => { const until = performance.now() + 600; while (performance.now() < until) JSON.parse("[1,2,3]") }, 100)'
  expect(await Promise.all([run(work), run('')])).toEqual(['1', '0'])
})
