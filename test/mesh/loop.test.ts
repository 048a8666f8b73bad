import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Loop } from '#mesh/loop.ts'

vi.mock('node:timers/promises', () => ({
  setTimeout: (ms: number, value: unknown, { signal }: { signal: AbortSignal }) =>
    new Promise((resolve, reject) => {
      const abort = () => reject(new Error('aborted'))
      if (signal.aborted) abort()
      signal.addEventListener('abort', abort)
      globalThis.setTimeout(() => resolve(value), ms)
    }),
}))

describe('a loop', () => {
  let rounds: number
  let work: () => Promise<boolean>
  let loop: Loop
  beforeEach(() => {
    vi.useFakeTimers()
    rounds = 0
    work = async () => false
    loop = new Loop({
      name: 'test',
      intervalMs: 1000,
      failingMs: 8000,
      log: pino({ level: 'silent' }),
      work: () => ((rounds += 1), work()),
    })
  })
  afterEach(async () => {
    await loop.stop()
    vi.useRealTimers()
  })
  const after = (ms: number) => vi.advanceTimersByTimeAsync(ms)

  test('that is woken does not wait, and does not march twice', async () => {
    loop.start()
    await after(0)
    expect(rounds).toBe(1)
    loop.wake()
    loop.wake()
    await after(1)
    expect(rounds).toBe(2)
    await after(700)
    expect(rounds).toBe(2)
  })

  test('that is woken during a round has another follow it: what came late in the round is not left lying', async () => {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    work = () => promise
    loop.start()
    await after(0)
    loop.wake()
    work = async () => false
    resolve(false)
    await after(1)
    expect(rounds).toBe(2)
  })

  test('that fails waits longer each time, up to its limit, and waking does not press it', async () => {
    work = () => Promise.reject(new Error('away'))
    loop.start()
    const begun: number[] = []
    const start = Date.now()
    for (let step = 0; step < 60_000; step += 50) {
      await after(50)
      loop.wake()
      if (rounds > begun.length) begun.push(Date.now() - start)
    }
    const waits = begun.slice(1).map((at, index) => at - begun[index]!)
    for (const [index, wait] of waits.entries()) {
      const meant = Math.min(1000 * 2 ** index, 8000)
      expect(wait).toBeGreaterThanOrEqual(meant * 0.75 - 50)
      expect(wait).toBeLessThanOrEqual(meant * 1.25 + 50)
    }
    expect(waits.length).toBeGreaterThan(5)
  })

  test('that works again marches as before', async () => {
    work = () => Promise.reject(new Error('away'))
    loop.start()
    await after(20_000)
    work = async () => false
    await after(10_001)
    const before = rounds
    await after(10_000)
    expect(rounds - before).toBeGreaterThanOrEqual(8)
  })
})
