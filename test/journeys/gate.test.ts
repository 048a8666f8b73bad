/** The release gate before the real mesh: it lets a good one pass, and none whose parts are slow, gone or stuck. */
import { readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type GateOptions, measure } from '../../gate/gate.ts'
import { type CriterionResult, judge, limits, overall } from '../../gate/criteria.ts'
import { scrapes } from '../../gate/metrics-source.ts'
import { type Target, metricsUrl } from '../../gate/target.ts'
import { onlyInFullRun } from '../setup/needs.ts'
import { full } from '../setup/seed.ts'
import { type Journey, journey } from './journey.ts'

let harness: Journey
let target: Target
beforeAll(async () => {
  harness = await journey({ ownPostgres: true })
  const { gateway, gatewayAdmin, apiKey, services } = harness.mesh
  const admins = [['gateway', gatewayAdmin], ...Object.entries(services).map(([name, { admin }]) => [name, admin])] as [string, string][]
  target = { gateway: new URL(gateway), apiKey, metrics: Object.fromEntries(admins.map(([name, at]) => [name, metricsUrl(name, at)])) }
})
afterAll(() => harness?.end())

// A machine that runs tests is no release's, and a mesh that just began is at its largest: that limits are held to exactly is shown in
// test/gate/criteria.test.ts.
const patient = { ...limits, lightP99Ms: 2000, webhookP95Ms: 4000, residentMb: 250 }

const runMs = full ? 60_000 : 6000

async function gate(receiverDelayMs = 0, held = patient): Promise<CriterionResult[]> {
  const options: GateOptions = {
    ratePerSecond: 30,
    runMs,
    warmUpMs: 2000,
    settleTimeoutMs: 500,
    pollIntervalMs: 500,
    receiver: { listen: { host: '127.0.0.1', port: 0 }, url: undefined, delayMs: receiverDelayMs },
    signal: new AbortController().signal,
  }
  const { measurements } = await measure(target, scrapes(target.metrics, target), options)
  return judge(measurements, 'skipped', held)
}

const verdicts = (judged: readonly CriterionResult[]) => Object.fromEntries(judged.map(({ criterion, verdict }) => [criterion, verdict]))
const said = (judged: readonly CriterionResult[]) =>
  judged.map(({ criterion, verdict, measured }) => `${verdict} ${criterion}: ${measured}`).join('\n')

test('a mesh without a fault passes', async () => {
  const judged = await gate()
  expect(overall(judged), said(judged)).toBe('pass')
})

test('webhooks that take 1.3 s fail it, though nothing else is wrong', async () => {
  const judged = await gate(1300, { ...patient, webhookP95Ms: limits.webhookP95Ms })
  const failed = judged.filter(({ verdict }) => verdict === 'fail').map(({ criterion }) => criterion)
  expect(failed, said(judged)).toEqual(['P95 of webhook executes, of clients', 'P95 of webhook runs, in actions'])
})

/** The processes that one has forked, from Linux's /proc. */
async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter(Boolean).map(Number)
}

/** Does something while the gate judges, once it has begun to. */
async function gateWhile(meddle: () => Promise<void>): Promise<CriterionResult[]> {
  const seen = async () => Number(/^action_preview_total\S* (\d+)/m.exec(await (await fetch(target.metrics['actions']!)).text())?.[1] ?? 0)
  const before = await seen()
  const judging = gate()
  // Past the warm-up, in which there are some fifteen previews.
  const meddling = (async () => {
    while ((await seen()) < before + 20) await pause(50)
    await meddle()
  })()
  const [judged] = await Promise.all([judging, meddling])
  return judged
}

// Each fault by itself, and each criterion, is in test/gate/faults.test.ts.
test('a Postgres that stops for a while fails it: latencies or errors, and never a second delivery', onlyInFullRun, async () => {
  const pid = harness.mesh.postgres!.pid
  const judged = await gateWhile(async () => {
    // The postmaster and what it forked, which do the work.
    const backends = await childrenOf(pid)
    for (const each of [pid, ...backends]) process.kill(each, 'SIGSTOP')
    // A sixth of the run.
    await pause(10_000)
    for (const each of [pid, ...backends]) process.kill(each, 'SIGCONT')
  })
  expect(overall(judged), said(judged)).toBe('fail')
  expect(verdicts(judged)['webhooks not delivered exactly once'], said(judged)).not.toBe('fail')
  const { 'P99 of light endpoints, of clients': light, 'errors, as clients saw them': errors } = verdicts(judged)
  expect([light, errors], said(judged)).toContain('fail')
})

test('a service that is killed fails it, also when it comes back at once', onlyInFullRun, async () => {
  const judged = await gateWhile(async () => {
    await harness.mesh.process('actions').kill('SIGKILL')
    await harness.mesh.process('actions').restart()
  })
  expect(verdicts(judged)['processes stay up and answer'], said(judged)).toBe('fail')
  expect(verdicts(judged)['webhooks not delivered exactly once'], said(judged)).not.toBe('fail')
})
