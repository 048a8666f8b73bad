/** Measurements → verdicts. Pure. A criterion with too little data is `unknown`, which is not a pass. */
import { percentile } from '../measure/statistics.ts'
import { type Baseline, cpuUsPerRequest, incomparable } from './baseline.ts'
import { type Histogram, countOf, quantile } from './histogram.ts'
import { type MeasuredResponse, type Measurements, latencies } from './measurements.ts'
import { light } from './workload.ts'
import { inWindows } from './windows.ts'

export interface Limits {
  /** Of all requests. */
  errorShare: number
  /** The number of windows in a row with a 5xx that is too many. */
  badWindows: number
  lightP99Ms: number
  webhookP95Ms: number
  /** The memory limit of one process (exclusive), in MB of 10^6 bytes. */
  residentMb: number
  /** The limit (exclusive) of CPU time per request, relative to the baseline. */
  cpuRatio: number
}

/** The limits that a release must meet. */
export const limits: Limits = { errorShare: 0.01, badWindows: 3, lightP99Ms: 50, webhookP95Ms: 1200, residentMb: 150, cpuRatio: 3 }

export type Verdict = 'pass' | 'fail' | 'unknown' | 'skipped'

export interface CriterionResult {
  criterion: string
  limit: string
  measured: string
  verdict: Verdict
  /** Figures for programs: NaN and Infinity become null in JSON. */
  value?: number
}

/** The minimum data per criterion; with less it is `unknown`. */
const min = {
  requests: 100,
  /** Per window. */
  inWindow: 10,
  /** Rejections, and replays. */
  cases: 10,
  executes: 20,
  looks: 3,
}

/** `skipped` if no baseline is wanted; undefined if there is none. */
export type BaselineOption = Baseline | 'skipped' | undefined

const percent = (share: number): string => `${(share * 100).toFixed(2)} %`
const ms = (value: number): string => (Number.isFinite(value) ? `${value.toFixed(value < 10 ? 1 : 0)} ms` : 'no end')
const verdictOf = (enough: boolean, good: boolean): Verdict => (enough ? (good ? 'pass' : 'fail') : 'unknown')
const few = (enough: boolean, what: string): string => (enough ? '' : `; too few: ${what}`)

/** A share of bad results. Too many are a failure even if there is too little data for a pass. */
function share(criterion: string, bad: number, all: number, limit: number): CriterionResult {
  const enough = all >= min.requests
  const value = all === 0 ? Number.NaN : bad / all
  return {
    criterion,
    limit: `≤ ${limit * 100} %`,
    measured: all === 0 ? 'nothing' : `${percent(value)} (${bad} of ${all})${few(enough, `${min.requests} are needed`)}`,
    verdict: verdictOf(enough, value <= limit),
    value,
  }
}

/** No bad result is allowed. One is a failure, however few results there are. */
function none(criterion: string, bad: number, all: number, needed: number, what: string): CriterionResult {
  const enough = all >= needed
  return {
    criterion,
    limit: 'none',
    measured: `${bad} of ${all}${what}${few(enough, `${needed} are needed`)}`,
    verdict: bad > 0 ? 'fail' : verdictOf(enough, true),
    value: bad,
  }
}

/** The minimum number of values whose quantile is not simply the largest: with fewer, nothing could be an outlier. */
const minFor = (share: number): number => Math.round(1 / (1 - share))

function latency(criterion: string, share: number, limitMs: number, seen: { count: number; valueMs: number }): CriterionResult {
  const needed = minFor(share)
  const enough = seen.count >= needed
  return {
    criterion,
    limit: `≤ ${limitMs} ms`,
    measured: seen.count === 0 ? 'nothing' : `${ms(seen.valueMs)} of ${seen.count}${few(enough, `${needed} are needed`)}`,
    verdict: verdictOf(enough, seen.valueMs <= limitMs),
    value: seen.valueMs,
  }
}

function ofClient(
  responses: readonly MeasuredResponse[],
  wanted: (response: MeasuredResponse) => boolean,
  at: number,
): { count: number; valueMs: number } {
  const values = latencies(responses, wanted)
  return { count: values.length, valueMs: percentile(values, at) }
}

const ofMesh = (histogram: Histogram, at: number): { count: number; valueMs: number } => ({
  count: countOf(histogram),
  valueMs: quantile(histogram, at) * 1000,
})

function load({ answers: responses, starved, lateP99Ms, ratePerSecond, runMs }: Measurements): CriterionResult {
  const limited = responses.filter(({ outcome }) => outcome === 'limited').length
  const due = responses.length + starved
  const value = due === 0 ? Number.NaN : (starved + limited) / due
  const planned = `${due} due at ${ratePerSecond}/s in ${Math.round(runMs / 1000)} s`
  return {
    criterion: 'the load was as planned',
    limit: '≥ 95 %',
    measured: `${planned}, ${limited} refused by a rate limit, ${starved} could not be asked; sent late by ${ms(lateP99Ms)} at P99`,
    // Not the release's fault; but requests that were not sent were not judged.
    verdict: value <= 0.05 ? 'pass' : 'unknown',
    value: 1 - value,
  }
}

function consecutive({ answers: responses, runMs }: Measurements, max: number): CriterionResult {
  const { counts, longest } = inWindows(
    responses.map(({ atMs, outcome }) => ({ atMs, bad: outcome === 'server_error' })),
    runMs,
  )
  const each = counts.map(({ bad }) => bad).join(', ')
  const enough = counts.length >= max && counts.every(({ requests }) => requests >= min.inWindow)
  return {
    criterion: '5xx in windows in a row',
    limit: `< ${max}`,
    measured: `${longest} of ${counts.length} (${each})${few(enough, `${min.inWindow} requests a window are needed`)}`,
    verdict: longest >= max ? 'fail' : verdictOf(enough, true),
    value: longest,
  }
}

function memory({ mesh: { processes } }: Measurements, limitMb: number): CriterionResult {
  const enough = processes.length > 0 && processes.every(({ looks, missed }) => looks - missed >= min.looks)
  const known = processes.filter(({ peakResident }) => !Number.isNaN(peakResident))
  const largest = known.toSorted((a, b) => b.peakResident - a.peakResident)[0]
  const value = (largest?.peakResident ?? Number.NaN) / 1e6
  return {
    criterion: 'memory of a process, at most',
    limit: `< ${limitMb} MB`,
    measured: (largest === undefined ? 'nothing' : `${value.toFixed(1)} MB (${largest.name})`) + few(enough, 'a process was hardly seen'),
    verdict: value >= limitMb ? 'fail' : verdictOf(enough && known.length === processes.length, true),
    value,
  }
}

function alive({ mesh: { processes } }: Measurements): CriterionResult {
  const restarted = processes.filter(({ restarts }) => restarts > 0)
  const missed = processes.filter((each) => each.missed > 0)
  const names = [...new Set([...restarted, ...missed].map(({ name }) => name))]
  return {
    criterion: 'processes stay up and answer',
    limit: 'all',
    measured: names.length === 0 ? `${processes.length} did` : `not ${names.join(', ')}`,
    verdict: names.length > 0 ? 'fail' : verdictOf(processes.length > 0, true),
    value: names.length,
  }
}

function cpu(measured: Measurements, baseline: BaselineOption, limit: number): CriterionResult {
  const criterion = 'CPU of a request, against the baseline'
  const ours = cpuUsPerRequest(measured)
  const results = { criterion, limit: `< ${limit} ×` }
  const shown = ours === undefined ? 'not known' : `${Math.round(ours)} µs`
  if (baseline === 'skipped') return { ...results, measured: shown, verdict: 'skipped', value: ours }
  if (baseline === undefined) return { ...results, measured: `${shown}; no baseline`, verdict: 'unknown', value: ours }
  const why = incomparable(baseline, measured)
  if (why !== undefined) return { ...results, measured: `${shown}; ${why}`, verdict: 'unknown', value: ours }
  if (ours === undefined) return { ...results, measured: shown, verdict: 'unknown' }
  const value = ours / baseline.cpuUsPerRequest
  const enough = (measured.mesh.requests ?? 0) >= min.requests
  const both = `${shown} against ${Math.round(baseline.cpuUsPerRequest)} µs`
  return {
    ...results,
    measured: `${value.toFixed(2)} × (${both})${few(enough, `${min.requests} requests are needed`)}`,
    verdict: verdictOf(enough, value < limit),
    value,
  }
}

export function judge(measured: Measurements, baseline: BaselineOption, held: Limits = limits): CriterionResult[] {
  const { answers: responses, mesh, deliveryReport, refusals, replays } = measured
  const errors = responses.filter(({ outcome }) => outcome !== 'ok' && outcome !== 'limited').length
  const of = `${deliveryReport.duplicates} twice, ${deliveryReport.missing} not, ${deliveryReport.unasked} unasked, ${deliveryReport.misnamed} under another id`
  return [
    load(measured),
    share('errors, as clients saw them', errors, responses.length, held.errorShare),
    share('5xx, as the gateway counted', mesh.serverErrors, mesh.requests ?? 0, held.errorShare),
    consecutive(measured, held.badWindows),
    latency(
      'P99 of light endpoints, of clients',
      0.99,
      held.lightP99Ms,
      ofClient(responses, ({ kind }) => light.has(kind), 0.99),
    ),
    latency('P99 of light endpoints, in the gateway', 0.99, held.lightP99Ms, ofMesh(mesh.light, 0.99)),
    latency(
      'P95 of webhook executes, of clients',
      0.95,
      held.webhookP95Ms,
      ofClient(responses, ({ kind }) => kind === 'execute', 0.95),
    ),
    latency('P95 of webhook runs, in actions', 0.95, held.webhookP95Ms, ofMesh(mesh.webhook, 0.95)),
    memory(measured, held.residentMb),
    cpu(measured, baseline, held.cpuRatio),
    alive(measured),
    none('webhooks not delivered exactly once', deliveryReport.wrong, deliveryReport.succeeded, min.executes, ` (${of})`),
    none('replays that are not the first run', replays.other, replays.answered, min.cases, ''),
    none('what must be refused but was not', refusals.accepted, refusals.asked, min.cases, ''),
  ]
}

/** `unknown`: nothing failed, but something could not be judged. */
export function overall(results: readonly CriterionResult[]): 'pass' | 'fail' | 'unknown' {
  if (results.some(({ verdict }) => verdict === 'fail')) return 'fail'
  return results.length === 0 || results.some(({ verdict }) => verdict === 'unknown') ? 'unknown' : 'pass'
}
