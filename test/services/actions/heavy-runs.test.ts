/** Large runs and many readers: everybody else goes on. Over real gRPC and the pools that the process has. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http2 from 'node:http2'
import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ActionsServiceService, GetRunRequest, ListRunsResponse } from '#gen/relay/actions/v1/actions.ts'
import { auditEvent } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import type { MeshError } from '#mesh/errors.ts'
import { type Context, ownContext } from '#mesh/grpc/call.ts'
import type { Caller } from '#mesh/grpc/caller.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { type Pools, openPools } from '#mesh/postgres/pools.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { Catalog } from '../../../services/actions/catalog.ts'
import { noConnections } from '../../../services/actions/connections.ts'
import { ActionMetrics } from '../../../services/actions/metrics.ts'
import { Previews } from '../../../services/actions/preview.ts'
import { largeRunLimits } from '../../../services/actions/runs/large-runs.ts'
import { actionsService } from '../../../services/actions/service.ts'
import { postgresStore } from '../../../services/actions/store.postgres.ts'
import { postgresSettlementStore } from '../../../services/actions/store.settlements.postgres.ts'
import { postgresRunReader } from '../../../services/actions/store.runs.postgres.ts'
import { frame } from '../../fixtures/mesh/raw-call.ts'
import { type Harness, principalOf, execute, openHarness } from './harness.ts'

const log = pino({ level: 'silent' })
const large = 900_000
const readers = 25

let harness: Harness
let pools: Pools<'reserved' | 'reads'>
let actions: ReturnType<typeof methodsOf<typeof ActionsServiceService>>
const ends: (() => unknown)[] = []
const ada = (): Context => ({ ...ownContext(), callerToken: 'ada' })
/** Of another workspace. */
const zoe = (): Context => ({ ...ownContext(), callerToken: 'zoe' })
let port: number
/** Ada's large runs, and one of zoe's. */
const adas: string[] = []
let zoes: string

beforeAll(async () => {
  harness = await openHarness()
  pools = openPools({ url: new Secret(harness.url), log }, { reserved: 0.3, reads: 0.2 })
  const store = postgresStore(pools.main, undefined, pools.reserved)
  const { execution } = harness.replica({ store: () => store })
  const catalog = new Catalog([harness.ledger])
  const previews = new Previews({ catalog, store, connections: noConnections, ttlMs: 60_000 })
  const metrics = new ActionMetrics(new Metrics('t'), store)
  const settlements = postgresSettlementStore(pools.main)
  const service = actionsService({
    enabled: true,
    catalog,
    previews,
    execution,
    runs: postgresRunReader(pools.reads),
    settlements,
    metrics,
  })
  const caller = (actor: string): Caller => ({ workspace: actor === 'zoe' ? 'other' : 'acme', actor, keyId: 'k', may: () => true })
  const verifier = { caller, peer: () => undefined }
  const server = new GrpcServer({ services: [service], verifier, health: new Health({ services: [] }), log, metrics: new Metrics('t') })
  port = await server.listen({ host: '127.0.0.1', port: 0 })
  const channel = new Channel({ address: `127.0.0.1:${port}` })
  ends.push(
    () => channel.close(),
    () => server.drain(1000),
  )
  actions = methodsOf(ActionsServiceService, channel)
  const replica = harness.replica()
  const runLarge = async (who: { workspace: string; actor: string }) =>
    (await execute(replica, await harness.preview('x'.repeat(large), who), undefined, who)).run.runId
  for (let index = 0; index < 5; index += 1) adas.push(await runLarge({ workspace: 'acme', actor: 'ada' }))
  zoes = await runLarge({ workspace: 'other', actor: 'zoe' })
})
afterAll(async () => {
  for (const end of ends) await end()
  await pools?.close()
  await harness?.close()
})

test('a page of runs of 0.9 MB has a few kilobytes, and says what it omits and where that is', async () => {
  const page = await actions.listRuns({ pageSize: 0, pageToken: '', status: '' }, ada())
  expect(page.runs).toHaveLength(5)
  for (const run of page.runs)
    expect(run).toMatchObject({ status: 'success', actor: 'ada', params: {}, result: undefined, withheld: 'size' })
  expect(ListRunsResponse.encode(page).finish().length).toBeLessThan(4096)
  const { run } = await actions.getRun({ runId: page.runs[0]!.runId }, ada())
  expect(run).toMatchObject({ params: { note: 'x'.repeat(large) }, result: { ok: true }, withheld: '' })
})

test('a full page of runs, each of the maximum listed size, stays within its budget', async () => {
  await harness.database.pool
    .query(`INSERT INTO runs (run_id, preview_id, attempt_id, workspace, actor, action, provider, params, key_kind, key,
      status, lease_until, request_id, trace_id, ended_at)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'full', 'ada', 'ledger.add', 'independent',
      convert_to('{"note":"' || repeat('x', 5 * (at % 1200)) || '"}', 'UTF8'), 'client', at::text, 'success', now(), gen_random_uuid(), '', clock_timestamp()
    FROM generate_series(1, 1200) AS at`)
  const reader = postgresRunReader(pools.reads)
  for (const limit of [1, 50, 200]) {
    const { runs } = await reader.list({ workspace: 'full', status: 'success', limit, after: undefined })
    expect(runs).toHaveLength(limit)
    const bytes = runs.reduce((sum, { details }) => sum + (details?.params.length ?? 0), 0)
    expect(bytes).toBeLessThanOrEqual(256 * 1024)
    expect(runs.some(({ details }) => details !== undefined)).toBe(true)
  }
})

/** How a read ended: answered, or the reason why it was not, with whether that says when to come back. */
const endOf = (reading: Promise<unknown>): Promise<string> =>
  reading.then(
    () => 'answered',
    ({ reason, retryAfterMs }: MeshError) => `${reason}${retryAfterMs === undefined ? '' : ', retry after'}`,
  )
const refusal = 'OVERLOADED, retry after'

test('while a large run of a workspace is being sent, a few reads wait and more are rejected at once; small ones and other workspaces continue', async () => {
  const unread = await readNothing(adas[0]!)
  const ends: string[] = []
  const asked = Array.from({ length: 12 }, async (_, index) => ends.push(await endOf(actions.getRun({ runId: adas[index % 5]! }, ada()))))
  try {
    const { max, maxQueuedPerTenant } = largeRunLimits
    expect(max).toBeGreaterThan(1)
    await expect.poll(() => ends.length, { timeout: 20_000 }).toBeGreaterThanOrEqual(asked.length - maxQueuedPerTenant)
    expect(new Set(ends)).toEqual(new Set([refusal]))
    expect(await endOf(actions.getRun({ runId: zoes }, zoe()))).toBe('answered')
    const { previewId } = await actions.previewAction({ action: 'ledger.add', params: { note: 'milk' } }, ada())
    const { runId } = await actions.executeAction({ previewId, idempotencyKey: randomUUID() }, ada())
    expect((await actions.getRun({ runId }, ada())).run).toMatchObject({ params: { note: 'milk' }, withheld: '' })
  } finally {
    unread.destroy()
    await Promise.all(asked)
  }
  expect(await endOf(actions.getRun({ runId: adas[0]! }, ada()))).toBe('answered')
})

test(`while ${readers} callers of one workspace read large runs one after the other, each read is answered or rejected at once, and another workspace notices nothing`, async () => {
  let reading = true
  const ends = new Map<string, number>()
  const reader = async (index: number) => {
    while (reading) {
      const end = await endOf(actions.getRun({ runId: adas[index % 5]! }, ada()))
      ends.set(end, (ends.get(end) ?? 0) + 1)
      if (end === refusal) await pause(1000)
    }
  }
  const all = Array.from({ length: readers }, (_, index) => reader(index))
  try {
    const took: number[] = []
    for (let index = 0; index < 10; index += 1) {
      const began = performance.now()
      const { previewId } = await actions.previewAction({ action: 'ledger.add', params: { note: 'milk' } }, zoe())
      const { status, durationMs } = await actions.executeAction({ previewId, idempotencyKey: randomUUID() }, zoe())
      expect(status).toBe('success')
      // From the row to its end: what the driver waited for.
      expect(durationMs).toBeLessThan(3000)
      took.push(performance.now() - began)
    }
    expect(Math.max(...took)).toBeLessThan(5000)
  } finally {
    reading = false
    await Promise.all(all)
  }
  expect([...ends.keys()].toSorted()).toEqual([refusal, 'answered'].toSorted())
})

test('a lease is renewed, a run ends and the process counts as ready while every other connection is in use', async () => {
  const store = postgresStore(pools.main, undefined, pools.reserved)
  const taken = Promise.withResolvers<void>()
  const holding = [pools.main, pools.reads].flatMap((pool) =>
    Array.from({ length: pool.pool.options.max ?? 10 }, () => pool.transaction(() => taken.promise)),
  )
  try {
    expect(await store.renewLease(randomUUID(), 1, 1000)).toBe(false)
    expect(await store.claimExpiredRuns({ limit: 10, leaseMs: 1000, gapMs: 300, except: [] })).toEqual([])
    expect(await store.claimPending({ limit: 1, retryMs: 1 })).toEqual(expect.any(Array))
    const event = auditEvent('actions', principalOf(), { action: 'actions.test', outcome: 'success' })
    expect(await store.endRun({ runId: randomUUID(), epoch: 1, status: 'success', notifyAfterMs: 1, acted: true, event })).toBeUndefined()
    await pools.main.ping()
    await expect(store.findRun(randomUUID())).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  } finally {
    taken.resolve()
    await Promise.all(holding)
  }
})

/** Asks for a run as ada and takes nothing of what comes; resolves once that has begun to come. */
async function readNothing(runId: string): Promise<http2.ClientHttp2Session> {
  const session = http2.connect(`http://127.0.0.1:${port}`)
  session.on('error', () => undefined)
  const { path } = ActionsServiceService.getRun
  const headers = { ':method': 'POST', ':path': path, te: 'trailers', 'content-type': 'application/grpc', authorization: 'Bearer ada' }
  const stream = session.request(headers)
  stream.on('error', () => undefined)
  stream.end(frame(GetRunRequest.encode({ runId }).finish()))
  await once(stream, 'response')
  return session
}
