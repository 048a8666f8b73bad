import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/** Discards 400 MB in pieces of 64 KB. Prints the most that buffers held at once, in MB. */
const program = (report: boolean) => `
  const { BufferGarbage } = await import(${JSON.stringify(new URL('../../gateway/buffer-garbage.ts', import.meta.url).href)})
  const garbage = new BufferGarbage()
  let max = 0
  for (let body = 0; body < 400; body += 1) {
    for (let piece = 0; piece < 16; piece += 1) Buffer.alloc(64 * 1024)
    if (${report}) garbage.add(1024 * 1024)
    max = Math.max(max, process.memoryUsage().arrayBuffers)
    await new Promise(setImmediate)
  }
  console.log(Math.round(max / 1e6))`
const maxMB = async (report: boolean) =>
  Number((await promisify(execFile)('node', ['--expose-gc', '--input-type=module', '-e', program(report)])).stdout)

test('a process that discards many buffers holds at most 20 MB of dead ones', async () => {
  expect(await maxMB(true)).toBeLessThan(20)
  // The reason for it: V8 alone waits for much more.
  expect(await maxMB(false)).toBeGreaterThan(40)
})
