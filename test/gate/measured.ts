/** Measurements of a run that passes everything, just so; tests change what they are about. */
import type { Baseline } from '../../gate/baseline.ts'
import type { Histogram } from '../../gate/histogram.ts'
import type { MeasuredResponse, Measurements } from '../../gate/measurements.ts'
import type { ProcessMetrics } from '../../gate/mesh-metrics.ts'
import { mixVersion } from '../../gate/workload.ts'

const minute = 60_000

export const answersOf = (
  kind: MeasuredResponse['kind'],
  count: number,
  latencyMs: number,
  outcome: MeasuredResponse['outcome'] = 'ok',
): MeasuredResponse[] => Array.from({ length: count }, (_, index) => ({ kind, outcome, latencyMs, atMs: (index * 3 * minute) / count }))

/** So many values, all of them in the bucket up to `le`, in seconds. */
export const allUpTo = (le: number, count: number): Histogram => [
  { le: le / 2, count: 0 },
  { le, count },
  { le: Infinity, count },
]

export const processMetrics = (over: Partial<ProcessMetrics> = {}): ProcessMetrics => ({
  name: 'actions',
  looks: 90,
  missed: 0,
  restarts: 0,
  peakResident: 149e6,
  cpuSeconds: 2,
  ...over,
})

export const measured = (over: Partial<Measurements> = {}): Measurements => ({
  runMs: 3 * minute,
  ratePerSecond: 8,
  answers: [...answersOf('list', 600, 50), ...answersOf('execute', 400, 1200)],
  starved: 0,
  lateP99Ms: 1,
  refusals: { asked: 100, accepted: 0 },
  replays: { answered: 100, other: 0 },
  deliveryReport: { succeeded: 400, duplicates: 0, missing: 0, unasked: 0, misnamed: 0, wrong: 0 },
  mesh: { processes: [processMetrics()], requests: 1000, serverErrors: 0, light: allUpTo(0.05, 600), webhook: allUpTo(1.2, 400) },
  ...over,
})

export const baseline: Baseline = {
  at: '2026-01-01T00:00:00.000Z',
  machine: 'any',
  node: 'any',
  seconds: 180,
  ratePerSecond: 8,
  mixVersion,
  cpuUsPerRequest: 1000,
  cpuUsBy: { actions: 1000 },
}
