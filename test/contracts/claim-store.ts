/** What every store of claims promises, whatever it is made of: run on each engine by claim-store.<engine>.test.ts. */
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Decision, ClaimKey } from '../../services/idempotency/claim.ts'
import type { ClaimStore } from '../../services/idempotency/store.ts'
import {
  type Engine,
  type GrantedClaim,
  byRun,
  completion,
  fingerprintOf,
  freshKey,
  granted,
  hourMs,
  leaseMs,
  look,
  outcomes,
  request,
} from './claim-requests.ts'
import { concurrencyContract } from './claim-store-concurrency.ts'
import { reaperContract } from './claim-store-reaper.ts'
import { strandedContract } from './claim-store-stranded.ts'
import { commands, walk } from './claim-walk.ts'

export function claimStoreContract(name: string, open: () => Promise<Engine>, options: { walks: number }): void {
  describe(`claims in ${name}`, () => {
    let engine: Engine
    let store: ClaimStore
    beforeAll(async () => {
      engine = await open()
      store = engine.store
    })
    afterAll(() => engine.close())

    const grant = async (key: ClaimKey, asked = request()): Promise<GrantedClaim> => granted(await store.claim(key, asked))

    describe('asking for the work', () => {
      test('an unused key is granted to who asks first, with the run, the token and the lease asked for', async () => {
        const asked = request({ leaseMs: 12_345 })
        expect(await store.claim(freshKey(), asked)).toEqual({
          outcome: 'granted',
          token: asked.token,
          runId: asked.runId,
          takenOver: false,
          leaseMs: 12_345,
        })
      })

      test('looking at an unused key finds nothing and claims nothing', async () => {
        const key = freshKey()
        expect(await store.claim(key, look())).toEqual({ outcome: 'absent' })
        expect(await store.claim(key, look())).toEqual({ outcome: 'absent' })
        expect((await store.claim(key, request())).outcome).toBe('granted')
      })

      test('while the work is held, other callers and readers learn its run and when to retry', async () => {
        const key = freshKey()
        const held = await grant(key, request({ leaseMs: 600 }))
        for (const asked of [request(), look()]) {
          const answer = await store.claim(key, asked)
          expect(answer).toMatchObject({ outcome: 'in_flight', runId: held.runId })
          const { retryAfterMs } = answer as Extract<Decision, { outcome: 'in_flight' }>
          expect(retryAfterMs).toBeGreaterThan(0)
          expect(retryAfterMs).toBeLessThanOrEqual(600)
        }
        const long = freshKey()
        await grant(long)
        expect(await store.claim(long, request())).toMatchObject({ retryAfterMs: 1000 })
      })

      test('an attempt that asks again, its reply lost, has the same grant', async () => {
        const key = freshKey()
        const asked = request()
        const first = await grant(key, asked)
        const again = granted(await store.claim(key, { ...asked, token: randomUUID() }))
        expect({ ...again, leaseMs }).toEqual(first)
        // What is left of it.
        expect(again.leaseMs).toBeLessThanOrEqual(leaseMs)
        expect(again.leaseMs).toBeGreaterThan(leaseMs - 5000)
        expect(await store.renew(key, { token: first.token, leaseMs })).toBe('done')
      })

      test('it keeps the same grant even after its lease expired, while no one took over', async () => {
        const key = freshKey()
        const asked = request()
        const first = await grant(key, asked)
        await engine.advance(leaseMs * 2)
        expect(await store.claim(key, { ...asked, token: randomUUID() })).toEqual(first)
        expect((await store.claim(key, request())).outcome).toBe('in_flight')
      })

      test('a lease that ran out is taken over with a new token and the first run', async () => {
        const key = freshKey()
        const first = await grant(key)
        await engine.advance(leaseMs + 1)
        const second = request()
        const takeover = { outcome: 'granted', token: second.token, runId: first.runId, takenOver: true, leaseMs }
        expect(await store.claim(key, second)).toEqual(takeover)
        // Also when that reply was lost, and by the next to take over.
        expect({ ...(await grant(key, { ...second, token: randomUUID() })), leaseMs }).toEqual(takeover)
        await engine.advance(leaseMs + 1)
        expect(await store.claim(key, request())).toMatchObject({ outcome: 'granted', runId: first.runId, takenOver: true })
      })

      test('who only looks takes nothing over', async () => {
        const key = freshKey()
        const first = await grant(key)
        await engine.advance(leaseMs + 1)
        expect(await store.claim(key, look())).toEqual({ outcome: 'in_flight', runId: first.runId, retryAfterMs: 1000 })
        expect(await store.renew(key, { token: first.token, leaseMs })).toBe('done')
      })

      test('other work under the same key is reported: in flight, with an expired lease, completed', async () => {
        const key = freshKey()
        const other = () => request({ fingerprint: fingerprintOf('other work') })
        const first = await grant(key)
        const mismatch = { outcome: 'mismatch', runId: first.runId }
        expect(await store.claim(key, other())).toEqual(mismatch)
        await engine.advance(leaseMs + 1)
        expect(await store.claim(key, other())).toEqual(mismatch)
        await store.complete(key, completion(first))
        expect(await store.claim(key, other())).toEqual(mismatch)
      })

      test('workspace, kind and key tell claims apart, to the byte', async () => {
        const quoted = ['NULL', 'null', '{}', '{a,b}', '"', "'", '\\', '\\x61', '\n', '%', '_']
        const unlike = ['a', 'A', 'a ', ' a', 'é', 'e\u0301', '\uFEFF', '😀'.repeat(255), ...quoted]
        const salt = randomUUID().slice(0, 8)
        const keys: ClaimKey[] = [
          ...unlike.map((key) => ({ workspace: salt, kind: 'client', key })),
          ...unlike.map((text) => ({ workspace: `${salt}${text}`.slice(0, 128), kind: 'client', key: 'k' })),
          { workspace: salt, kind: 'preview', key: 'a' },
        ]
        const requests = keys.map(() => request())
        const responses = await Promise.all(keys.map((key, index) => store.claim(key, requests[index]!)))
        expect(outcomes(responses)).toEqual({ granted: keys.length })
        for (const [index, key] of keys.entries()) {
          expect(await store.claim(key, look())).toMatchObject({ outcome: 'in_flight', runId: requests[index]!.runId })
        }
      })
    })

    describe('ending the work', () => {
      test('a completed key returns its run and its response, to readers as well', async () => {
        const key = freshKey()
        const response = Buffer.from([0, 1, 2, 255, 254, 0])
        const held = await grant(key)
        expect(await store.complete(key, completion(held, response))).toBe('done')
        for (const asked of [request(), look()]) {
          const answer = await store.claim(key, asked)
          expect(answer).toMatchObject({ outcome: 'completed', runId: held.runId })
          expect(Buffer.from((answer as Extract<Decision, { outcome: 'completed' }>).response!)).toEqual(response)
        }
      })

      test('an empty response differs from none', async () => {
        const [none, empty] = [freshKey(), freshKey()]
        await store.complete(none, completion(await grant(none)))
        await store.complete(empty, completion(await grant(empty), new Uint8Array()))
        expect(await store.claim(none, look())).toMatchObject({ response: undefined })
        expect(((await store.claim(empty, look())) as { response?: Uint8Array }).response).toHaveLength(0)
      })

      test('it answers for 24 hours from the first completion, and is free after that', async () => {
        const key = freshKey()
        const held = await grant(key)
        await store.complete(key, completion(held, Buffer.from('first')))
        await engine.advance(12 * hourMs)
        expect(await store.complete(key, completion(held, Buffer.from('second')))).toBe('done')
        expect(await store.complete(key, byRun(held.runId))).toBe('done')
        await engine.advance(12 * hourMs - 5000)
        const answer = await store.claim(key, look())
        expect(answer).toMatchObject({ outcome: 'completed', runId: held.runId })
        expect(Buffer.from((answer as { response: Uint8Array }).response).toString()).toBe('first')
        await engine.advance(5000)
        expect(await store.claim(key, look())).toEqual({ outcome: 'absent' })
        const next = request({ fingerprint: fingerprintOf('other work') })
        const fresh = { outcome: 'granted', token: next.token, runId: next.runId, takenOver: false, leaseMs }
        expect(await store.claim(key, next)).toEqual(fresh)
        expect(await store.complete(key, completion(held))).toBe('stale')
        expect(await store.claim(key, look())).toMatchObject({ outcome: 'in_flight', runId: next.runId })
      })

      test('the run alone completes its claim, even with the lease run out, and leaves others alone', async () => {
        const [key, other] = [freshKey(), freshKey()]
        const [held, elsewhere] = [await grant(key), await grant(other)]
        await engine.advance(leaseMs * 10)
        expect(await store.complete(other, byRun(held.runId))).toBe('done')
        expect(await store.complete(freshKey(), byRun(held.runId))).toBe('done')
        expect(await store.claim(other, look())).toMatchObject({ outcome: 'in_flight', runId: elsewhere.runId })
        expect(await store.complete(key, byRun(held.runId))).toBe('done')
        expect(await store.claim(key, request())).toEqual({ outcome: 'completed', runId: held.runId, response: undefined })
      })

      test('a released key is free at once, and releasing it twice is not an error', async () => {
        const key = freshKey()
        const held = await grant(key)
        expect(await store.release(key, held.token)).toBe('done')
        expect(await store.release(key, held.token)).toBe('done')
        expect(await store.claim(key, look())).toEqual({ outcome: 'absent' })
        expect((await store.claim(key, request({ fingerprint: fingerprintOf('other work') }))).outcome).toBe('granted')
      })

      test('a completed claim is not released', async () => {
        const key = freshKey()
        const held = await grant(key)
        await store.complete(key, completion(held))
        expect(await store.release(key, held.token)).toBe('stale')
        expect(await store.renew(key, { token: held.token, leaseMs })).toBe('stale')
        expect((await store.claim(key, look())).outcome).toBe('completed')
      })
    })

    describe('fencing', () => {
      test('a renewed lease is not taken over, and renewing never shortens it', async () => {
        const key = freshKey()
        const held = await grant(key)
        await engine.advance(leaseMs - 5000)
        expect(await store.renew(key, { token: held.token, leaseMs })).toBe('done')
        expect(await store.renew(key, { token: held.token, leaseMs: 1 })).toBe('done')
        await engine.advance(leaseMs - 5000)
        expect((await store.claim(key, request())).outcome).toBe('in_flight')
        // Run out, but nobody took over: it is still the holder's.
        await engine.advance(leaseMs)
        expect(await store.renew(key, { token: held.token, leaseMs })).toBe('done')
        expect((await store.claim(key, request())).outcome).toBe('in_flight')
      })

      test('after a takeover the old token changes nothing and the new one does', async () => {
        const key = freshKey()
        const old = await grant(key)
        await engine.advance(leaseMs + 1)
        const fresh = await grant(key)
        expect(await store.renew(key, { token: old.token, leaseMs: leaseMs * 10 })).toBe('stale')
        expect(await store.complete(key, completion(old))).toBe('stale')
        expect(await store.complete(key, completion(old, Buffer.from('late')))).toBe('stale')
        expect(await store.release(key, old.token)).toBe('stale')
        expect(await store.claim(key, look())).toMatchObject({ outcome: 'in_flight', runId: old.runId })
        expect(await store.complete(key, completion(fresh, Buffer.from('in time')))).toBe('done')
        expect(await store.complete(key, completion(old, Buffer.from('later still')))).toBe('stale')
        const answer = (await store.claim(key, look())) as { response: Uint8Array }
        expect(Buffer.from(answer.response).toString()).toBe('in time')
      })

      test('a token of nothing is stale, except to give it back', async () => {
        const key = freshKey()
        const token = randomUUID()
        expect(await store.renew(key, { token, leaseMs })).toBe('stale')
        expect(await store.complete(key, { runId: randomUUID(), token, response: undefined })).toBe('stale')
        expect(await store.release(key, token)).toBe('done')
        expect(await store.claim(key, look())).toEqual({ outcome: 'absent' })
      })
    })

    concurrencyContract(() => engine)
    reaperContract(open)
    strandedContract(open)

    test('whatever is asked in whatever order, it answers as the pure steps do', async () => {
      await fc.assert(
        fc.asyncProperty(commands, (each) => walk(engine, each)),
        { numRuns: options.walks },
      )
    })
  })
}
