/** "One execute, followed through": each of its conflicts, forced. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { type Harness, principalOf, execute, latch, openHarness } from '../harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await openHarness()
})
afterEach(() => harness.close())

const refusal = (reason: string, metadata?: object) =>
  expect.objectContaining({ reason, ...(metadata && { metadata: expect.objectContaining(metadata) }) })

describe('the key first', () => {
  test('a finished result is returned for its key with an invalid preview_id', async () => {
    const replica = harness.replica()
    const first = await execute(replica, await harness.preview(), 'k1')
    expect(first).toMatchObject({ replayed: false, run: { status: 'success' } })
    const again = await execute(replica, 'expired-or-invalid', 'k1')
    expect(again).toMatchObject({ replayed: true, run: { runId: first.run.runId, status: 'success' } })
    expect(harness.ledger.effects).toHaveLength(1)
  })

  test('an unknown key with an invalid preview is rejected and claims nothing', async () => {
    const replica = harness.replica()
    await expect(execute(replica, 'expired-or-invalid', 'k1')).rejects.toEqual(refusal('PREVIEW_INVALID'))
    // The key is still free for a preview that is good.
    expect(await execute(replica, await harness.preview(), 'k1')).toMatchObject({ replayed: false })
  })

  test('a finished result is returned although its provider was disabled since', async () => {
    const replica = harness.replica()
    const previewId = await harness.preview()
    const { run } = await execute(replica, previewId, 'k1')
    harness.ledger.missing = 'Set LEDGER_URL.'
    expect((await execute(replica, previewId, 'k1')).run.runId).toBe(run.runId)
    await expect(execute(replica, previewId, 'k2')).rejects.toEqual(refusal('ACTION_UNAVAILABLE'))
  })

  test('a key reused with a valid preview of something else is rejected, while in flight and afterwards', async () => {
    const replica = harness.replica()
    const hold = latch()
    harness.ledger.onExecute = async (_run, effect) => {
      effect()
      await hold.opened
      return { status: 'success', result: {} }
    }
    const other = await harness.preview('bread')
    const first = execute(replica, await harness.preview('milk'), 'k1')
    await vi.waitFor(() => expect(harness.ledger.effects).toHaveLength(1))
    await expect(execute(replica, other, 'k1')).rejects.toEqual(refusal('KEY_REUSED'))
    hold.open()
    const { run } = await first
    await expect(execute(replica, other, 'k1')).rejects.toEqual(refusal('KEY_REUSED', { run_id: run.runId }))
    expect(harness.ledger.effects).toHaveLength(1)
  })

  test('a key with another preview of exactly the same thing returns its run', async () => {
    const replica = harness.replica()
    const { run } = await execute(replica, await harness.preview('milk'), 'k1')
    expect(await execute(replica, await harness.preview('milk'), 'k1')).toMatchObject({ replayed: true, run: { runId: run.runId } })
  })

  test.each([
    ["another actor's", async () => harness.preview('bread', { actor: 'eve' })],
    ['expired', async () => harness.preview('bread', { ttlMs: -1 })],
    [
      'of an action that is not available now',
      async () => {
        const previewId = await harness.preview('bread')
        harness.ledger.missing = 'Set LEDGER_URL.'
        return previewId
      },
    ],
    [
      'of another account than is connected now',
      async () => {
        const previewId = await harness.preview('bread')
        harness.ledger.requires = { provider: 'google', scopes: [], warn: () => [] }
        return previewId
      },
    ],
  ])('a key reused with a preview that is refused is found out where that asks for something else: %s', async (_, refused) => {
    const replica = harness.replica()
    const { run } = await execute(replica, await harness.preview('milk'), 'k1')
    const other = await refused()
    await expect(execute(replica, other, 'k1')).rejects.toEqual(refusal('KEY_REUSED', { run_id: run.runId }))
    // It claims nothing, and a new key hears why the preview is refused.
    for (const attempt of [1, 2]) {
      const told = await execute(replica, other, 'k2').catch((error: { reason: string }) => error.reason)
      expect(['PREVIEW_INVALID', 'ACTION_UNAVAILABLE', 'NOT_CONNECTED'], `attempt ${attempt}`).toContain(told)
    }
    expect(harness.ledger.effects).toEqual([run.runId])
  })

  test('a key reused with a rejected preview is answered if that requests the same', async () => {
    const replica = harness.replica()
    const { run } = await execute(replica, await harness.preview('milk'), 'k1')
    const hers = await harness.preview('milk', { actor: 'eve' })
    expect(await execute(replica, hers, 'k1')).toMatchObject({ replayed: true, run: { runId: run.runId } })
  })

  test('a key belongs to its workspace', async () => {
    const replica = harness.replica()
    const one = await execute(replica, await harness.preview(), 'k1')
    const two = await execute(replica, await harness.preview('milk', { workspace: 'other' }), 'k1', { workspace: 'other' })
    expect(two.replayed).toBe(false)
    expect(two.run.runId).not.toBe(one.run.runId)
  })

  test("a client's key that reads like a preview id does not collide with the preview's own key", async () => {
    const replica = harness.replica()
    const [one, two] = [await harness.preview('milk'), await harness.preview('bread')]
    const keyless = await execute(replica, one)
    const keyed = await execute(replica, two, one)
    expect(keyed.replayed).toBe(false)
    expect(keyed.run.runId).not.toBe(keyless.run.runId)
  })
})

describe('one preview runs at most once', () => {
  test("another actor's preview does not exist, nor another workspace's, nor an expired one", async () => {
    const replica = harness.replica()
    await expect(execute(replica, await harness.preview('milk', { actor: 'eve' }))).rejects.toEqual(refusal('PREVIEW_INVALID'))
    await expect(execute(replica, await harness.preview('milk', { workspace: 'other' }))).rejects.toEqual(refusal('PREVIEW_INVALID'))
    await expect(execute(replica, await harness.preview('milk', { ttlMs: -1 }))).rejects.toEqual(refusal('PREVIEW_INVALID'))
    expect(harness.ledger.effects).toEqual([])
  })

  test('a hundred concurrent calls with one key on two replicas have one effect and one run', async () => {
    const replicas = [harness.replica({ waitMs: 10_000 }), harness.replica({ waitMs: 10_000 })]
    const previewId = await harness.preview()
    const responses = await Promise.all(Array.from({ length: 100 }, (_, index) => execute(replicas[index % 2]!, previewId, 'k1')))
    expect(new Set(responses.map(({ run }) => run.runId)).size).toBe(1)
    expect(responses.filter(({ replayed }) => !replayed)).toHaveLength(1)
    expect(harness.ledger.effects).toHaveLength(1)
  })

  test('a hundred concurrent calls without a key have one effect and one run', async () => {
    const replica = harness.replica({ waitMs: 10_000 })
    const previewId = await harness.preview()
    const responses = await Promise.all(Array.from({ length: 100 }, () => execute(replica, previewId)))
    expect(new Set(responses.map(({ run }) => run.runId)).size).toBe(1)
    expect(harness.ledger.effects).toHaveLength(1)
  })

  test('with many different keys it runs once, and the others learn which run it was', async () => {
    const replica = harness.replica()
    const previewId = await harness.preview()
    const responses = await Promise.allSettled(Array.from({ length: 20 }, (_, index) => execute(replica, previewId, `k${index}`)))
    const done = responses.filter((each) => each.status === 'fulfilled')
    expect(done).toHaveLength(1)
    const runId = done[0]!.value.run.runId
    for (const each of responses)
      if (each.status === 'rejected') expect(each.reason).toEqual(refusal('PREVIEW_ALREADY_RUN', { run_id: runId }))
    expect(harness.ledger.effects).toEqual([runId])
  })

  test('a key that lost the preview is released: it can be used for another', async () => {
    const replica = harness.replica()
    const previewId = await harness.preview()
    await execute(replica, previewId, 'k1')
    await expect(execute(replica, previewId, 'k2')).rejects.toEqual(refusal('PREVIEW_ALREADY_RUN'))
    expect(await execute(replica, await harness.preview(), 'k2')).toMatchObject({ replayed: false })
  })

  test('executed with a key and then without one, it returns its run', async () => {
    const replica = harness.replica()
    const previewId = await harness.preview()
    const { run } = await execute(replica, previewId, 'k1')
    expect(await execute(replica, previewId)).toMatchObject({ replayed: true, run: { runId: run.runId } })
  })
})

describe('while it runs', () => {
  test('others with its key wait a little, then must retry, then get its outcome', async () => {
    const replica = harness.replica({ waitMs: 100 })
    const previewId = await harness.preview()
    const hold = latch()
    harness.ledger.onExecute = async (_run, effect) => {
      effect()
      await hold.opened
      return { status: 'success', result: {} }
    }
    const first = execute(replica, previewId, 'k1')
    await vi.waitFor(() => expect(harness.ledger.effects).toHaveLength(1))
    const [runId] = harness.ledger.effects
    await expect(execute(replica, previewId, 'k1')).rejects.toEqual(expect.objectContaining({ reason: 'IN_PROGRESS', retryAfterMs: 1000 }))
    await expect(execute(replica, 'expired-or-invalid', 'k1')).rejects.toEqual(refusal('IN_PROGRESS', { run_id: runId! }))
    hold.open()
    await first
    expect((await execute(replica, previewId, 'k1')).run.runId).toBe(runId)
  })

  test('a caller that leaves changes nothing', async () => {
    const replica = harness.replica()
    const previewId = await harness.preview()
    const caller = new AbortController()
    const hold = latch()
    harness.ledger.onExecute = async (run, effect) => {
      caller.abort()
      await hold.opened
      expect(run.signal.aborted).toBe(false)
      effect()
      return { status: 'success', result: {} }
    }
    const context = {
      requestId: randomUUID(),
      trace: { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), sampled: false },
      signal: caller.signal,
    }
    const executed = replica.execution.execute({ previewId, idempotencyKey: 'k1', principal: principalOf(), context })
    await vi.waitFor(() => expect(caller.signal.aborted).toBe(true))
    hold.open()
    expect((await executed).run.status).toBe('success')
    expect(harness.ledger.effects).toHaveLength(1)
  })
})

describe('how it ends', () => {
  test.each([
    ['failed', { status: 'failed', error: { reason: 'NO', message: 'said no' } }],
    ['unknown', { status: 'unknown', error: { reason: 'NO', message: 'said no' } }],
  ] as const)('%s is an outcome like any other, at first and on replay', async (status, outcome) => {
    const replica = harness.replica()
    harness.ledger.onExecute = async () => outcome
    const previewId = await harness.preview()
    for (const replayed of [false, true]) {
      expect(await execute(replica, previewId, 'k1')).toMatchObject({ replayed, run: { status, error: 'NO: said no', errorReason: 'NO' } })
    }
  })

  test('an adapter that throws leaves the outcome unknown, without its own words', async () => {
    const replica = harness.replica()
    harness.ledger.onExecute = async (_run, effect) => {
      effect()
      throw new Error('password=hunter2')
    }
    const { run } = await execute(replica, await harness.preview(), 'k1')
    expect(run).toMatchObject({ status: 'unknown', errorReason: 'INTERNAL' })
    expect(JSON.stringify(run)).not.toContain('hunter2')
  })
})

describe('while a dependency is unavailable', () => {
  test('no claim, no effect', async () => {
    const replica = harness.replica()
    const previewId = await harness.preview()
    harness.claims.failing = { claim: 'before' }
    await expect(execute(replica, previewId, 'k1')).rejects.toEqual(refusal('DEPENDENCY_UNAVAILABLE'))
    harness.claims.failing = {}
    expect(harness.ledger.effects).toEqual([])
    expect(await execute(replica, previewId, 'k1')).toMatchObject({ replayed: false })
  })

  test('a claim whose response is lost is taken over with its run id once its lease expires, and runs once', async () => {
    const replica = harness.replica({ waitMs: 50 })
    const previewId = await harness.preview()
    harness.claims.failing = { claim: 'after' }
    await expect(execute(replica, previewId, 'k1')).rejects.toEqual(refusal('DEPENDENCY_UNAVAILABLE'))
    harness.claims.failing = {}
    await expect(execute(replica, previewId, 'k1')).rejects.toEqual(refusal('IN_PROGRESS'))
    harness.claims.skewMs = 6000
    expect(await execute(replica, previewId, 'k1')).toMatchObject({ replayed: false, run: { status: 'success' } })
    expect(harness.ledger.effects).toHaveLength(1)
  })

  test('an end that cannot be written yet is written as soon as possible, and only then returned', async () => {
    let away = 3
    const replica = harness.replica({
      store: (real) => ({
        ...real,
        async endRun(end) {
          if (away-- > 0) throw meshErrors.DEPENDENCY_UNAVAILABLE()
          return real.endRun(end)
        },
      }),
    })
    const { run } = await execute(replica, await harness.preview(), 'k1')
    expect(run.status).toBe('success')
    expect((await replica.store.findRun(run.runId))?.status).toBe('success')
    expect(away).toBe(-1)
  })

  test('the idempotency service is notified of an end at once, and then nothing is pending', async () => {
    const replica = harness.replica()
    const { run } = await execute(replica, await harness.preview(), 'k1')
    await vi.waitFor(() => expect(harness.claims.completed).toEqual([run.runId]))
    await vi.waitFor(async () => expect(await replica.store.pending()).toMatchObject({ count: 0 }))
  })

  test('the idempotency service is notified of an end through the outbox, however long it was unavailable', async () => {
    const replica = harness.replica()
    harness.claims.failing = { complete: 'before' }
    const { run } = await execute(replica, await harness.preview(), 'k1')
    expect(harness.claims.completed).toEqual([])
    // Meanwhile the run answers for its key.
    expect(await execute(replica, 'expired-or-invalid', 'k1')).toMatchObject({ replayed: true, run: { runId: run.runId } })
    harness.claims.failing = {}
    await harness.database.pool.query(`UPDATE outbox SET due_at = clock_timestamp()`)
    replica.outbox.start()
    await vi.waitFor(async () => expect(await replica.store.pending()).toMatchObject({ count: 0 }))
    expect(harness.claims.completed).toEqual([run.runId])
  })
})
