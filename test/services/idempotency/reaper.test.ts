import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { Loop } from '#mesh/loop.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import type { ClaimKey } from '../../../services/idempotency/claim.ts'
import { instruments } from '../../../services/idempotency/metrics.ts'
import { reaper as reaperOf } from '../../../services/idempotency/reaper.ts'
import { MemoryClaimStore } from '../../../services/idempotency/store.memory.ts'
import { granted, request, retentionMs } from '../../contracts/claim-requests.ts'
import { until } from '../../fixtures/mesh/until.ts'

function fixture(parts: { intervalMs: number; max?: number }) {
  let now = 0
  const store = new MemoryClaimStore({ retentionMs, clock: () => now })
  const metrics = new Metrics('idempotency')
  const lines: string[] = []
  const log = pino({}, { write: (line: string) => void lines.push(line) })
  const value = async (name: string) => (await metrics.registry.getSingleMetric(name)!.get()).values[0]?.value
  return {
    store,
    lines,
    value,
    advance: (ms: number) => (now += ms),
    start(): Loop {
      const reaping = reaperOf({ store, instruments: instruments(metrics), log, ...parts })
      reaping.start()
      return reaping
    },
    async complete(key: ClaimKey = { workspace: 'w', kind: 'client', key: randomUUID() }) {
      const { runId, token } = granted(await store.claim(key, request()))
      await store.complete(key, { runId, token, response: undefined })
    },
  }
}

describe('the reaper', () => {
  test('removes all that no longer answers in one round, however many bites that takes, and keeps the rest', async () => {
    const { store, complete, advance, start, value } = fixture({ intervalMs: 3_600_000, max: 3 })
    for (let index = 0; index < 10; index += 1) await complete()
    advance(retentionMs)
    await complete()
    await store.claim({ workspace: 'w', kind: 'client', key: 'in flight' }, request())
    const reaper = start()
    await until('the old ones are gone', () => store.size === 2)
    await reaper.stop()
    expect(await value('idempotency_reaped_total')).toBe(10)
  })

  test('never removes what is in flight, round after round, long after its lease ran out, and says how long', async () => {
    const { store, advance, start, value } = fixture({ intervalMs: 1 })
    await store.claim({ workspace: 'w', kind: 'client', key: 'in flight' }, request({ leaseMs: 30_000 }))
    advance(30_000 + 100 * retentionMs)
    let rounds = 0
    const reap = store.reap.bind(store)
    store.reap = (max) => ((rounds += 1), reap(max))
    const reaper = start()
    await until('many rounds', () => rounds > 20)
    await reaper.stop()
    expect(store.size).toBe(1)
    expect(await value('idempotency_expired_claims')).toBe(1)
    expect(await value('idempotency_oldest_expired_seconds')).toBe((100 * retentionMs) / 1000)
  })

  test('goes on after rounds that failed, and says so once', async () => {
    const { store, complete, advance, start, lines } = fixture({ intervalMs: 1 })
    await complete()
    advance(retentionMs)
    const reap = store.reap.bind(store)
    let failures = 0
    store.reap = (max) => ((failures += 1) <= 3 ? Promise.reject(new Error('away')) : reap(max))
    const reaper = start()
    await until('the old one is gone', () => store.size === 0)
    await reaper.stop()
    expect(lines.filter((line) => line.includes('away'))).toHaveLength(1)
  })

  test('stopped, it ends the statement it is at and begins no other', async () => {
    const { store, complete, advance, start } = fixture({ intervalMs: 1, max: 1 })
    for (let index = 0; index < 5; index += 1) await complete()
    advance(retentionMs)
    let begun = 0
    let release = (): void => undefined
    const reap = store.reap.bind(store)
    store.reap = async (max) => {
      begun += 1
      await new Promise<void>((resolve) => (release = resolve))
      return reap(max)
    }
    const reaper = start()
    await until('it has begun', () => begun === 1)
    let stopped = false
    const stopping = reaper.stop().then(() => (stopped = true))
    expect(stopped).toBe(false)
    release()
    await stopping
    expect(begun).toBe(1)
    expect(store.size).toBe(4)
  })
})
