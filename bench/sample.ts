/** One measurement, in the report's terms. Pure. */
import { availableParallelism } from 'node:os'
import type { LoadResult } from './load.ts'
import { percentile } from '../measure/statistics.ts'

export interface Sample {
  rounds: number
  /** Rounds per second. */
  perSecond: number
  /** Milliseconds, by the kind of request. */
  p50: Record<string, number>
  p99: Record<string, number>
  /** CPU time of one round in microseconds: of the whole subject, by process, and of the load generator. */
  cpuUs: number
  cpuUsBy: Record<string, number>
  clientUs: number
  /** The share of the machine that others used meanwhile; a high one makes the rest doubtful. */
  elsewhere: number
  /** Of the last response. */
  bytes: number
}

/** `names` are the processes of the subject. */
export function toSample(measured: LoadResult, names: readonly string[]): Sample {
  const { rounds, elapsedMs, latenciesMs, cpuMs, clientMs, busyMs, bytes } = measured
  const each = (ms: number) => (ms * 1000) / rounds
  const at = (share: number) => Object.fromEntries(Object.entries(latenciesMs).map(([step, values]) => [step, percentile(values, share)]))
  const known = Object.values(cpuMs).reduce((sum, ms) => sum + ms, clientMs)
  return {
    rounds,
    perSecond: (rounds * 1000) / elapsedMs,
    p50: at(0.5),
    p99: at(0.99),
    cpuUs: each(names.reduce((sum, name) => sum + cpuMs[name]!, 0)),
    cpuUsBy: Object.fromEntries(names.map((name) => [name, each(cpuMs[name]!)])),
    clientUs: each(clientMs),
    elsewhere: Math.max(0, busyMs - known) / (elapsedMs * availableParallelism()),
    bytes,
  }
}
