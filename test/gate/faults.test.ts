/** The whole gate against a mesh that does one thing wrong at a time: each criterion fails for its own fault, and for nothing else. */
import { expect, test } from 'vitest'
import type { Baseline } from '../../gate/baseline.ts'
import { type GateOptions, measure } from '../../gate/gate.ts'
import { type CriterionResult, type Limits, judge, limits, overall } from '../../gate/criteria.ts'
import { scrapes } from '../../gate/metrics-source.ts'
import { mixVersion } from '../../gate/workload.ts'
import { type GateFaults, startGateMesh } from '../fakes/gate-mesh.ts'

const ratePerSecond = 150
const options: GateOptions = {
  ratePerSecond,
  runMs: 1500,
  warmUpMs: 300,
  settleTimeoutMs: 0,
  pollIntervalMs: 200,
  receiver: { listen: { host: '127.0.0.1', port: 0 }, url: undefined, delayMs: 0 },
  signal: new AbortController().signal,
}
// The latencies of a machine that runs tests are no release's: they are held to only where they are the fault, and by a wide margin.
const patient = { ...limits, lightP99Ms: 20_000, webhookP95Ms: 20_000 }
// What the fake says of itself: two processes of 1 ms each.
const baseline: Baseline = {
  at: '2026-01-01T00:00:00.000Z',
  machine: 'any',
  node: 'any',
  seconds: 2,
  ratePerSecond,
  mixVersion,
  cpuUsPerRequest: 2000,
  cpuUsBy: {},
}

async function gate(faults: GateFaults, overrides: Partial<GateOptions> = {}, held: Partial<Limits> = {}): Promise<CriterionResult[]> {
  const mesh = await startGateMesh(faults)
  try {
    const source = scrapes(mesh.target.metrics, mesh.target)
    const { measurements } = await measure(mesh.target, source, { ...options, ...overrides })
    return judge(measurements, { ...baseline, ratePerSecond: measurements.ratePerSecond }, { ...patient, ...held })
  } finally {
    await mesh.stop()
  }
}

const not = (results: readonly CriterionResult[], verdict: CriterionResult['verdict'] = 'pass') =>
  results.filter((each) => each.verdict !== verdict).map(({ criterion, verdict, measured }) => `${criterion}: ${verdict} (${measured})`)
const failed = (results: readonly CriterionResult[]) =>
  results.filter(({ verdict }) => verdict === 'fail').map(({ criterion }) => criterion)

test('a mesh that does everything right passes, in every criterion', async () => {
  const results = await gate({}, { ratePerSecond: 100, runMs: 2500, warmUpMs: 500 })
  expect(not(results)).toEqual([])
  expect(overall(results)).toBe('pass')
})

const light = ['P99 of light endpoints, of clients', 'P99 of light endpoints, in the gateway']
const webhook = ['P95 of webhook executes, of clients', 'P95 of webhook runs, in actions']
const windows = '5xx in windows in a row'

type Fault = [string, GateFaults, string[], Partial<Limits>?]
const slow: Fault[] = [
  ['light endpoints that are slow', { lightMs: 300 }, light, { lightP99Ms: 250 }],
  ['webhooks that are slow', { webhookMs: 600 }, webhook, { webhookP95Ms: 500 }],
]
const wrong: Fault[] = [
  ['4 % of 500s', { errorEvery: 25 }, ['errors, as clients saw them', '5xx, as the gateway counted', windows]],
  ['a process that is too large', { residentMb: 150 }, ['memory of a process, at most']],
  ['more than three times the CPU time', { cpuMs: 3.2 }, ['CPU of a request, against the baseline']],
  ['a second delivery of the same run', { duplicate: 'same run' }, ['webhooks not delivered exactly once']],
  ['a second delivery under another run', { duplicate: 'other run' }, ['webhooks not delivered exactly once']],
  ['a delivery that never happened', { undelivered: true }, ['webhooks not delivered exactly once']],
  ['a preview that acts', { eager: true }, ['webhooks not delivered exactly once']],
  ['a replay that is another run', { otherRun: true }, ['errors, as clients saw them', 'replays that are not the first run']],
  ['a replay that does not say so', { silentReplay: true }, ['errors, as clients saw them', 'replays that are not the first run']],
  ['nothing is refused', { acceptsAll: true }, ['errors, as clients saw them', 'what must be refused but was not']],
  ['a process that began anew', { restartAfter: 150 }, ['processes stay up and answer']],
  ['a process that went silent', { silentAfter: 150 }, ['processes stay up and answer']],
]

async function expectFailure(_: string, faults: GateFaults, criteria: string[], held?: Partial<Limits>): Promise<void> {
  const results = await gate(faults, {}, held)
  expect(overall(results)).toBe('fail')
  expect(failed(results), not(results).join('\n')).toEqual(criteria)
}

test.each(slow)('%s: fails, and only what it breaks', expectFailure)
// Where latencies are not held to, one may slow the other down.
test.concurrent.each(wrong)('%s: fails, and only what it breaks', expectFailure)

test('a 5xx in each window fails, though they are less than 1 % of all', async () => {
  const results = await gate({ errorEachMs: 500 }, { ratePerSecond: 250, runMs: 1800 })
  expect(failed(results), not(results).join('\n')).toEqual([windows])
})

test('a rate limit that is met makes it no pass and no failure: what was not answered was not judged', async () => {
  const results = await gate({ allowance: 150 })
  expect(failed(results)).toEqual([])
  expect(overall(results)).toBe('unknown')
})
