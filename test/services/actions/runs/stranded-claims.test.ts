/** Claims that nobody uses any more: their attempt ended between the claim and the run row. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import type { Store } from '../../../../services/actions/store.ts'
import { type ReplicaOptions, type Harness, principalOf, execute, latch, openHarness } from '../harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await openHarness()
})
afterEach(() => harness.close())

/** Its process is killed between the claim and the run row. */
const killed: ReplicaOptions = { store: (real): Store => ({ ...real, begin: () => Promise.reject(new Error('killed')) }) }

/** A claim without a run under k1, expired; resolves to the run's id. */
async function stranded(previewId: string): Promise<string> {
  await expect(execute(harness.replica(killed), previewId, 'k1')).rejects.toThrow('killed')
  harness.claims.skewMs += 6000
  expect(await harness.claims.lapsed()).toBe(1)
  const [claim] = await harness.claims.expired({ expiredForMs: 0, limit: 1 })
  return claim!.runId
}

test('a claim whose attempt died before its run is freed, and its key runs the next request', async () => {
  await stranded(await harness.preview('milk'))
  const replica = harness.replica()
  replica.stranded.start()
  await vi.waitFor(async () => expect(await harness.claims.lapsed()).toBe(0))
  // Whatever is asked for: the key knows nothing any more.
  expect(await execute(replica, await harness.preview('bread'), 'k1')).toMatchObject({ replayed: false, run: { status: 'success' } })
})

test('a begin after its claim was settled does not commit, and does nothing', async () => {
  const [reached, hold] = [latch(), latch()]
  const slow = harness.replica({
    store: (real): Store => ({
      ...real,
      async begin(begin) {
        reached.open()
        await hold.opened
        return real.begin(begin)
      },
    }),
  })
  const previewId = await harness.preview()
  const late = execute(slow, previewId, 'k1')
  late.catch(() => undefined)
  await reached.opened
  harness.claims.skewMs += 6000
  const replica = harness.replica()
  await replica.stranded.round()
  expect(await harness.claims.lapsed()).toBe(0)
  hold.open()
  await expect(late).rejects.toMatchObject({ reason: 'IN_PROGRESS' })
  expect(harness.ledger.effects).toEqual([])
  // What stands in its place is nobody's run.
  expect((await harness.runs.list({ workspace: 'acme', status: undefined, limit: 10, after: undefined })).runs).toEqual([])
  expect(await execute(replica, previewId, 'k1')).toMatchObject({ replayed: false, run: { status: 'success' } })
})

test('a begin in progress is awaited: either it commits and its claim stays, or it never will', async () => {
  const previewId = await harness.preview()
  const runId = await stranded(previewId)
  const replica = harness.replica()
  const begin = {
    runId,
    attemptId: randomUUID(),
    previewId,
    key: { workspace: 'acme', kind: 'client' as const, key: 'k1' },
    leaseMs: 60_000,
    principal: principalOf(),
    spanId: '',
  }
  const [begun, found] = await Promise.all([replica.store.begin(begin), replica.store.giveUp(runId, begin.key)])
  expect([begun.outcome, found]).toEqual(begun.outcome === 'begun' ? ['begun', 'executing'] : ['given-up', 'void'])
  // Again, as another replica does.
  expect(await replica.store.giveUp(runId, begin.key)).toBe(found)
})

test('a claim whose run is in progress is left alone, and one whose end was not delivered is completed', async () => {
  const replica = harness.replica()
  const hold = latch()
  harness.claims.failing = { complete: 'before' }
  harness.ledger.onExecute = async (_run, effect) => {
    effect()
    await hold.opened
    return { status: 'success', result: {} }
  }
  const running = execute(replica, await harness.preview(), 'k1')
  await vi.waitFor(() => expect(harness.ledger.effects).toHaveLength(1))
  harness.claims.skewMs += 6000
  await replica.stranded.round()
  expect(await harness.claims.lapsed()).toBe(1)
  hold.open()
  const { run } = await running
  harness.claims.failing = {}
  await replica.stranded.round()
  expect(await harness.claims.lapsed()).toBe(0)
  expect(await execute(replica, 'expired-or-invalid', 'k1')).toMatchObject({ replayed: true, run: { runId: run.runId } })
})

test('300 callers that hang up while their key is claimed leave no claim without a run', async () => {
  const replica = harness.replica({ waitMs: 100 })
  const claim = harness.claims.claim.bind(harness.claims)
  const previews: string[] = []
  for (let made = 0; made < 300; made += 1) previews.push(await harness.preview())
  const callers = previews.map((previewId, index) => ({ previewId, key: `k${index}`, gone: new AbortController() }))
  // As a gRPC client: a call whose context is aborted is over for it, though the service has done it.
  harness.claims.claim = async (asked, ...[context]: [{ signal?: AbortSignal }?]) => {
    const response = await claim(asked)
    callers.find(({ key }) => key === asked.key.key)!.gone.abort()
    if (context?.signal?.aborted) throw meshErrors.CANCELLED()
    return response
  }
  // Twenty at a time: the database is not what is tested here.
  for (let from = 0; from < callers.length; from += 20) {
    await Promise.allSettled(
      callers.slice(from, from + 20).map(({ previewId, key, gone }) =>
        replica.execution.execute({
          previewId,
          idempotencyKey: key,
          principal: principalOf(),
          context: { ...ownContext(), signal: gone.signal },
        }),
      ),
    )
  }
  harness.claims.skewMs += 6000
  await vi.waitFor(async () => expect(await harness.claims.lapsed()).toBe(0), { timeout: 10_000 })
  expect(harness.ledger.effects).toHaveLength(300)
})

test('a caller that is gone before its key is claimed claims nothing', async () => {
  const gone = AbortSignal.abort()
  const previewId = await harness.preview()
  const asked = { previewId, idempotencyKey: 'k1', principal: principalOf(), context: { ...ownContext(), signal: gone } }
  await expect(harness.replica().execution.execute(asked)).rejects.toMatchObject({ reason: 'CANCELLED' })
  harness.claims.skewMs += 6000
  expect(await harness.claims.lapsed()).toBe(0)
})
