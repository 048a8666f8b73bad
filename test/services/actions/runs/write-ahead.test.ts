/** A run's row is written before anything is done; and what follows where it stays open whether it was. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import type { Store } from '../../../../services/actions/store.ts'
import { type Harness, execute, openHarness } from '../harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await openHarness()
})
afterEach(() => harness.close())

const refusal = (reason: string) => expect.objectContaining({ reason })

test.each([
  ['landed', 'after'],
  ['did not land', 'before'],
] as const)('a write-ahead whose reply is lost is asked about, and acted on once: it %s', async (_, when) => {
  let lost = 0
  const replica = harness.replica({
    store: (real) => ({
      ...real,
      async begin(begin) {
        if (lost++ > 0) return real.begin(begin)
        if (when === 'after') await real.begin(begin)
        throw meshErrors.DEPENDENCY_UNAVAILABLE()
      },
    }),
  })
  expect(await execute(replica, await harness.preview(), 'k1')).toMatchObject({ replayed: false, run: { status: 'success' } })
  expect(harness.ledger.effects).toHaveLength(1)
})

/** Its write-ahead lands, each time without an answer. */
const unanswered = (real: Store): Store => ({
  ...real,
  async begin(begin) {
    await real.begin(begin)
    throw meshErrors.DEPENDENCY_UNAVAILABLE()
  },
})
const notActed = { status: 'failed', errorReason: 'NOT_ACTED', error: expect.stringContaining('nothing was sent') }

test('an unclear write-ahead is never acted on by its own attempt, which says so: its key returns that nothing was sent', async () => {
  const previewId = await harness.preview()
  await expect(execute(harness.replica({ store: unanswered }), previewId, 'k1')).rejects.toEqual(refusal('DEPENDENCY_UNAVAILABLE'))
  const other = harness.replica()
  const { run } = await vi.waitFor(() => execute(other, previewId, 'k1'), { timeout: 10_000, interval: 100 })
  expect(run).toMatchObject({ ...notActed, epoch: 1 })
  expect(harness.ledger.effects).toEqual([])
})

test('a write-ahead that stays unclear while the store is unavailable, until the reconciler finds it: its attempt’s result replaces the unknown', async () => {
  let away = true
  const findRun =
    (real: Store): Store['findRun'] =>
    (runId) =>
      away ? Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE()) : real.findRun(runId)
  const replica = harness.replica({ store: (real) => ({ ...unanswered(real), findRun: findRun(real) }) })
  const previewId = await harness.preview()
  await expect(execute(replica, previewId, 'k1')).rejects.toEqual(refusal('DEPENDENCY_UNAVAILABLE'))
  await harness.lapse()
  const healthy = harness.replica()
  await healthy.reconciler.round()
  expect((await execute(healthy, previewId, 'k1')).run).toMatchObject({ status: 'unknown', epoch: 2 })
  away = false
  await vi.waitFor(async () => expect((await execute(healthy, previewId, 'k1')).run).toMatchObject({ ...notActed, epoch: 2 }), {
    timeout: 10_000,
  })
  expect(harness.ledger.effects).toEqual([])
})

test('a write-ahead that stays unclear and did not commit leaves its key to the next attempt, which acts', async () => {
  const replica = harness.replica({ store: (real) => ({ ...real, begin: () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE()) }) })
  const previewId = await harness.preview()
  await expect(execute(replica, previewId, 'k1')).rejects.toEqual(refusal('DEPENDENCY_UNAVAILABLE'))
  harness.claims.skewMs = 10_000
  expect((await execute(harness.replica(), previewId, 'k1')).run).toMatchObject({ status: 'success' })
  expect(harness.ledger.effects).toHaveLength(1)
})

test('a write-ahead that is answered only after its run was taken over replaces the unknown by its attempt’s result', async () => {
  let first = true
  const late = harness.replica({
    store: (real) => ({
      ...real,
      async begin(begin) {
        if (first) {
          first = false
          await real.begin(begin)
          await harness.lapse()
          await harness.replica().reconciler.round()
          throw meshErrors.DEPENDENCY_UNAVAILABLE()
        }
        return real.begin(begin)
      },
    }),
  })
  const previewId = await harness.preview()
  await execute(late, previewId, 'k1')
  await vi.waitFor(async () => expect((await execute(late, previewId, 'k1')).run).toMatchObject({ ...notActed, epoch: 2 }), {
    timeout: 10_000,
  })
  expect(harness.ledger.effects).toEqual([])
})

test('a draining process writes the end of its run although the store is briefly unavailable', async () => {
  let draining = false
  let failed = 0
  const replica = harness.replica({
    store: (real) => ({
      ...real,
      endRun: async (end) => {
        if (!draining || failed++ < 3) throw meshErrors.DEPENDENCY_UNAVAILABLE()
        return real.endRun(end)
      },
    }),
  })
  const executed = execute(replica, await harness.preview(), 'k1')
  await vi.waitFor(() => expect(harness.ledger.effects).toHaveLength(1))
  draining = true
  await replica.executor.drain()
  expect(await executed).toMatchObject({ run: { status: 'success', epoch: 1 } })
})
