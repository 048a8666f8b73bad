import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { runHeartbeat } from '../../../../services/actions/runs/heartbeat.ts'
import { ActionMetrics } from '../../../../services/actions/metrics.ts'

test('each gap in the heartbeat is counted, and a beat without one is not', async () => {
  const metrics = new Metrics('actions')
  const gaps = [false, true, false, true]
  let beats = 0
  const store = { beat: async () => ({ afterGap: gaps[beats++] ?? false }), pending: async () => ({ count: 0, lagMs: 0 }) }
  const beating = runHeartbeat({ store, metrics: new ActionMetrics(metrics, store), log: pino({ level: 'silent' }), leaseMs: 50 })
  beating.start()
  await vi.waitFor(() => expect(beats).toBeGreaterThan(gaps.length + 2))
  await beating.stop()
  expect((await metrics.registry.getSingleMetric('heartbeat_gaps_total')!.get()).values).toMatchObject([{ value: 2 }])
})
