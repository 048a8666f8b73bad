/** The RPCs of relay.actions.v1 over real gRPC: what a service that calls the stubs sees. */
import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ActionsServiceService, PreviewActionRequest, PreviewActionResponse } from '#gen/relay/actions/v1/actions.ts'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { type Context, ownContext } from '#mesh/grpc/call.ts'
import type { Caller, Verifier } from '#mesh/grpc/caller.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import type { Adapter } from '../../../services/actions/adapter.ts'
import { Catalog } from '../../../services/actions/catalog.ts'
import { noConnections } from '../../../services/actions/connections.ts'
import { ActionMetrics } from '../../../services/actions/metrics.ts'
import { Previews } from '../../../services/actions/preview.ts'
import { actionsService } from '../../../services/actions/service.ts'
import { postgresSettlementStore } from '../../../services/actions/store.settlements.postgres.ts'
import { type Harness, openHarness } from './harness.ts'

const log = pino({ level: 'silent' })
/** A token is "workspace.actor" here, or "workspace.actor.all" of one who may read all runs. */
const verifier: Verifier = {
  caller(token): Caller | undefined {
    const [workspace, actor, all] = token.split('.')
    const may = (permission: string) => permission !== 'runs:read_all' || all !== undefined
    return workspace === undefined || actor === undefined ? undefined : { workspace, actor, keyId: 'k', may }
  },
  peer: () => undefined,
}

/** Takes headers, and answers with one of them. */
const echo: Adapter<{ headers: Record<string, string> }> = {
  action: 'echo.headers',
  reasons: ['LOST'],
  provider: 'independent',
  description: 'Says what it was sent.',
  guarantee: 'At most once.',
  params: z.strictObject({ headers: z.record(z.string(), z.string()) }),
  preview: async (params) => ({ params, summary: 'Echo', warnings: [] }),
  execute: async ({ headers }) => ({ status: 'success', result: { response: `you sent ${headers['Authorization']}` } }),
  reconcile: async () => ({ status: 'unknown', error: { reason: 'LOST', message: 'who knows' } }),
}

let harness: Harness
const ends: (() => unknown)[] = []
const as = (callerToken: string): Context => ({ ...ownContext(), callerToken })

async function serve(enabled: boolean) {
  const { store, execution } = harness.replica()
  const catalog = new Catalog([harness.ledger, echo])
  const previews = new Previews({ catalog, store, connections: noConnections, ttlMs: 60_000 })
  const metrics = new ActionMetrics(new Metrics('t'), store)
  const settlements = postgresSettlementStore(harness.database)
  const service = actionsService({ enabled, catalog, previews, execution, runs: harness.runs, settlements, metrics })
  const server = new GrpcServer({ services: [service], verifier, health: new Health({ services: [] }), log, metrics: new Metrics('t') })
  const channel = new Channel({ address: `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}` })
  ends.push(
    () => channel.close(),
    () => server.drain(1000),
  )
  return { actions: methodsOf(ActionsServiceService, channel), channel }
}

let actions: Awaited<ReturnType<typeof serve>>['actions']
let channel: Channel
beforeAll(async () => {
  harness = await openHarness({ adapters: [echo] })
  ;({ actions, channel } = await serve(true))
})
afterAll(async () => {
  for (const end of ends) await end()
  await harness?.close()
})

const previewed = async (note: string, who = 'acme.ada') =>
  (await actions.previewAction({ action: 'ledger.add', params: { note } }, as(who))).previewId

describe('preview', () => {
  test('shows what would happen with the canonical parameters, for at most an hour, and changes nothing outside', async () => {
    const reply = await actions.previewAction({ action: 'ledger.add', params: { note: 'milk' } }, as('acme.ada'))
    expect(reply).toMatchObject({
      action: 'ledger.add',
      provider: 'independent',
      summary: 'Add milk',
      params: { note: 'milk' },
      warnings: [],
    })
    expect(reply.expiresAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(harness.ledger.effects).toEqual([])
  })

  test('names every invalid parameter', async () => {
    const asked = actions.previewAction({ action: 'ledger.add', params: { note: 1, more: true } }, as('acme.ada'))
    await expect(asked).rejects.toMatchObject({ reason: 'INVALID_PARAMS', code: 'INVALID_ARGUMENT' })
    const { violations } = (await asked.catch((error: unknown) => error)) as { violations: { field: string }[] }
    expect(violations.map(({ field }) => field).sort()).toEqual(['params.more', 'params.note'])
  })

  test('of an unknown action is NOT_FOUND', async () => {
    await expect(actions.previewAction({ action: 'nope', params: {} }, as('acme.ada'))).rejects.toMatchObject({ reason: 'UNKNOWN_ACTION' })
  })

  test('shows no "__proto__" key, which only gRPC can carry this far, and is not changed by one', async () => {
    // An encoder of JavaScript objects cannot write such a key: it is patched in.
    const bytes = Buffer.from(
      PreviewActionRequest.encode({ action: 'ledger.add', params: { note: 'x', __prota__: { note: 'evil' } } }).finish(),
    )
    bytes.write('__proto__', bytes.indexOf('__prota__'))
    const { response } = await channel.call('/relay.actions.v1.ActionsService/PreviewAction', bytes, as('acme.ada'))
    expect(PreviewActionResponse.decode(response).params).toEqual({ note: 'x' })
    expect(Object.prototype).not.toHaveProperty('note')
  })
})

describe('runs', () => {
  test('are found only by their workspace; elsewhere they do not exist', async () => {
    const { runId } = await actions.executeAction({ previewId: await previewed('a'), idempotencyKey: randomUUID() }, as('acme.ada'))
    expect((await actions.getRun({ runId }, as('acme.bob'))).run).toMatchObject({ runId, status: 'success', actor: 'ada' })
    await expect(actions.getRun({ runId }, as('other.ada'))).rejects.toMatchObject({ reason: 'RUN_NOT_FOUND', code: 'NOT_FOUND' })
    await expect(actions.getRun({ runId: randomUUID() }, as('acme.ada'))).rejects.toMatchObject({ reason: 'RUN_NOT_FOUND' })
    await expect(actions.getRun({ runId: 'no-uuid' }, as('acme.ada'))).rejects.toMatchObject({ reason: 'INVALID_REQUEST' })
  })

  test("show an actor's parameters, result and error to that actor and to callers with runs:read_all alone, wherever a run is shown", async () => {
    harness.ledger.onExecute = async (_run, effect) => {
      effect()
      return { status: 'failed', error: { reason: 'LEDGER_FULL', message: 'no room for private mail' }, result: { line: 'private' } }
    }
    try {
      const who = (caller: string) => as(`private.${caller}`)
      const key = randomUUID()
      const asked = { previewId: await previewed('to: cara, bcc: dan', 'private.ada'), idempotencyKey: key }
      const own = await actions.executeAction(asked, who('ada'))
      const open = {
        params: { note: 'to: cara, bcc: dan' },
        result: { line: 'private' },
        error: 'LEDGER_FULL: no room for private mail',
        withheld: '',
      }
      const outcome = { result: open.result, error: open.error }
      expect(own).toMatchObject(outcome)
      const hidden = { result: undefined, error: expect.stringMatching(/^LEDGER_FULL: only /) }
      const list = async (caller: string) => (await actions.listRuns({ pageSize: 0, pageToken: '', status: '' }, who(caller))).runs[0]
      for (const caller of ['ada', 'root.all']) {
        expect((await actions.getRun({ runId: own.runId }, who(caller))).run, caller).toMatchObject(open)
        expect(await list(caller), caller).toMatchObject(open)
      }
      for (const shown of [await list('bob'), (await actions.getRun({ runId: own.runId }, who('bob'))).run]) {
        expect(shown).toMatchObject({ runId: own.runId, status: 'failed', actor: 'ada', params: {}, withheld: 'permission', ...hidden })
        expect(JSON.stringify(shown)).not.toMatch(/private|cara|dan/)
      }
      // By the key alone: whoever knows it learns how the run ended.
      const replayed = await actions.executeAction({ previewId: 'expired-or-invalid', idempotencyKey: key }, who('bob'))
      expect(replayed).toMatchObject({ runId: own.runId, status: 'failed', ...hidden })
      expect(await actions.executeAction({ previewId: 'expired-or-invalid', idempotencyKey: key }, who('root.all'))).toMatchObject(outcome)
    } finally {
      harness.ledger.onExecute = async (_run, effect) => {
        effect()
        return { status: 'success', result: { ok: true } }
      }
    }
  })

  test('never show the secrets in their parameters, nor where the other side repeats them', async () => {
    const asked = { action: 'echo.headers', params: { headers: { Authorization: 'Bearer not-to-be-seen' } } }
    const { previewId } = await actions.previewAction(asked, as('acme.ada'))
    const { runId } = await actions.executeAction({ previewId, idempotencyKey: undefined }, as('acme.ada'))
    const shown = [
      await actions.executeAction({ previewId, idempotencyKey: undefined }, as('acme.ada')),
      await actions.getRun({ runId }, as('acme.root.all')),
      await actions.listRuns({ pageSize: 1, pageToken: '', status: '' }, as('acme.ada')),
    ]
    expect(JSON.stringify(shown)).not.toContain('not-to-be-seen')
    const params = { headers: { Authorization: '[redacted]' } }
    expect(shown[1]).toMatchObject({ run: { params, result: { response: 'you sent [redacted]' }, withheld: '' } })
  })

  test('are listed page by page, and an invalid page token is rejected by name', async () => {
    const made: string[] = []
    for (const note of ['a', 'b', 'c']) {
      made.unshift(
        (await actions.executeAction({ previewId: await previewed(note, 'pages.ada'), idempotencyKey: undefined }, as('pages.ada'))).runId,
      )
    }
    const first = await actions.listRuns({ pageSize: 2, pageToken: '', status: 'success' }, as('pages.ada'))
    const second = await actions.listRuns({ pageSize: 2, pageToken: first.nextPageToken, status: '' }, as('pages.ada'))
    expect([...first.runs, ...second.runs].map(({ runId }) => runId)).toEqual(made)
    expect(second.nextPageToken).toBe('')
    for (const token of ['nope', `2026-99-99 00:00:00+00 ${randomUUID()}`, `1 ${'-'.repeat(36)}`, `${'9'.repeat(20)} ${randomUUID()}`]) {
      const pageToken = Buffer.from(token).toString('base64url')
      await expect(actions.listRuns({ pageSize: 2, pageToken, status: '' }, as('pages.ada'))).rejects.toMatchObject({
        reason: 'INVALID_REQUEST',
        violations: [{ field: 'page_token' }],
      })
    }
  })
})

test('acts are recorded under the caller, its key, its address and the ids of the call; a trace that an outside caller claims is not used', async () => {
  const context = as('audited.ada')
  const { previewId } = await actions.previewAction({ action: 'ledger.add', params: { note: 'x' } }, context)
  const { runId } = await actions.executeAction({ previewId, idempotencyKey: undefined }, context)
  const { rows } = await harness.database.pool.query<{ event: string }>('SELECT event FROM audit_outbox')
  const told = rows.map(({ event }) => JSON.parse(event) as AuditEvent).filter(({ workspace }) => workspace === 'audited')
  const principal = { actor: 'ada', keyId: 'k', requestId: context.requestId, source: '127.0.0.1' }
  expect(told.map(({ traceId }) => traceId)).not.toContain(context.trace.traceId)
  expect(told.sort((one, other) => (one.action < other.action ? 1 : -1))).toEqual([
    expect.objectContaining({ ...principal, action: 'actions.preview', targets: [`preview:${previewId}`] }),
    expect.objectContaining({ ...principal, action: 'actions.execute', targets: [`run:${runId}`, `preview:${previewId}`] }),
  ])
})

test('disabled, every call says so', async () => {
  const off = (await serve(false)).actions
  const calls = [
    off.listActions({}, as('acme.ada')),
    off.previewAction({ action: 'ledger.add', params: {} }, as('acme.ada')),
    off.executeAction({ previewId: 'x', idempotencyKey: undefined }, as('acme.ada')),
    off.listRuns({ pageSize: 0, pageToken: '', status: '' }, as('acme.ada')),
    off.getRun({ runId: randomUUID() }, as('acme.ada')),
    off.settleRun({ runId: randomUUID(), verdict: 'happened', reason: 'seen' }, as('acme.ada')),
  ]
  for (const call of calls) await expect(call).rejects.toMatchObject({ reason: 'ACTIONS_DISABLED', code: 'UNIMPLEMENTED' })
})

test('an action whose provider is not configured says what to configure, in the list and at preview', async () => {
  harness.ledger.missing = 'Set LEDGER_URL.'
  try {
    expect((await actions.listActions({}, as('acme.ada'))).actions[0]).toMatchObject({
      available: false,
      unavailableReason: 'Set LEDGER_URL.',
    })
    await expect(actions.previewAction({ action: 'ledger.add', params: { note: 'x' } }, as('acme.ada'))).rejects.toMatchObject({
      reason: 'ACTION_UNAVAILABLE',
      message: 'Set LEDGER_URL.',
    })
  } finally {
    harness.ledger.missing = undefined
  }
})
