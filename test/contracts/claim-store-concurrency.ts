/** What a store of claims promises to many who ask at once; part of claim-store.ts. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { ClaimKey } from '../../services/idempotency/claim.ts'
import {
  type Engine,
  type GrantedClaim,
  byRun,
  completion,
  freshKey,
  granted,
  leaseMs,
  look,
  outcomes,
  request,
  retentionMs,
  times,
} from './claim-requests.ts'

export function concurrencyContract(engine: () => Engine): void {
  const store = () => engine().store
  const grant = async (key: ClaimKey): Promise<GrantedClaim> => granted(await store().claim(key, request()))

  describe('many at once', () => {
    test('of 100 who ask at once one is granted the work', async () => {
      const key = freshKey()
      const responses = await Promise.all(times(100, () => store().claim(key, request())))
      expect(outcomes(responses)).toEqual({ granted: 1, in_flight: 99 })
      expect(new Set(responses.map((each) => (each as { runId: string }).runId)).size).toBe(1)
    })

    test('of 100 who would take over at once one does', async () => {
      const key = freshKey()
      const first = await grant(key)
      await engine().advance(leaseMs + 1)
      const responses = await Promise.all(times(100, () => store().claim(key, request())))
      expect(outcomes(responses)).toEqual({ granted: 1, in_flight: 99 })
      expect(responses.every((each) => (each as { runId: string }).runId === first.runId)).toBe(true)
    })

    test('of 100 who ask at once for a key that no longer answers one is granted the work', async () => {
      const key = freshKey()
      await store().complete(key, completion(await grant(key)))
      await engine().advance(retentionMs)
      const responses = await Promise.all(times(100, () => store().claim(key, request())))
      expect(outcomes(responses)).toEqual({ granted: 1, in_flight: 99 })
    })

    test('an attempt that asks 50 times at once has one grant, and again when its lease has run out', async () => {
      const key = freshKey()
      const asked = request()
      const ask = () =>
        Promise.all(
          times(50, () =>
            store()
              .claim(key, { ...asked, token: randomUUID() })
              .then(granted),
          ),
        )
      const first = await ask()
      await engine().advance(leaseMs + 1)
      const tokens = [...first, ...(await ask())].map(({ token }) => token)
      expect(new Set(tokens).size).toBe(1)
    })

    test('300 different keys at once are all granted and all completed, each with its own run', async () => {
      const keys = times(300, () => freshKey())
      const requests = keys.map(() => request())
      const grants = await Promise.all(keys.map((key, index) => store().claim(key, requests[index]!).then(granted)))
      expect(grants.map(({ token, runId }) => ({ token, runId }))).toEqual(requests.map(({ token, runId }) => ({ token, runId })))
      const ends = await Promise.all(keys.map((key, index) => store().complete(key, completion(grants[index]!))))
      expect(new Set(ends)).toEqual(new Set(['done']))
      const responses = await Promise.all(keys.map((key) => store().claim(key, look())))
      expect(responses).toEqual(requests.map(({ runId }) => ({ outcome: 'completed', runId, response: undefined })))
    })

    test('concurrent valid and invalid completions are distinguished', async () => {
      const keys = times(60, () => freshKey())
      const grants = await Promise.all(keys.map((key) => grant(key)))
      const wrong = (index: number) => index % 3 === 0
      const completions = grants.map((held, index) => ({ ...completion(held), ...(wrong(index) ? { token: randomUUID() } : {}) }))
      const ends = await Promise.all(keys.map((key, index) => store().complete(key, completions[index]!)))
      expect(ends).toEqual(keys.map((_, index) => (wrong(index) ? 'stale' : 'done')))
      const responses = await Promise.all(keys.map((key) => store().claim(key, look())))
      expect(responses.map(({ outcome }) => outcome)).toEqual(keys.map((_, index) => (wrong(index) ? 'in_flight' : 'completed')))
    })

    test('one run completed 30 times at once, with and without its token, is completed', async () => {
      const key = freshKey()
      const held = await grant(key)
      const ends = await Promise.all(times(30, (index) => store().complete(key, index % 2 === 0 ? completion(held) : byRun(held.runId))))
      expect(new Set(ends)).toEqual(new Set(['done']))
    })

    test('however many claim and release at once, there is never a second holder', async () => {
      const key = freshKey()
      let holders = 0
      let grants = 0
      const work = async () => {
        for (let turn = 0; turn < 10; turn += 1) {
          const answer = await store().claim(key, request())
          if (answer.outcome !== 'granted') continue
          holders += 1
          grants += 1
          expect(holders).toBe(1)
          expect(await store().renew(key, { token: answer.token, leaseMs })).toBe('done')
          holders -= 1
          expect(await store().release(key, answer.token)).toBe('done')
        }
      }
      await Promise.all(times(10, work))
      expect(grants).toBeGreaterThan(0)
      expect(await store().claim(key, look())).toEqual({ outcome: 'absent' })
    })
  })
}
