/** Random walks over one key, on a store and on the pure steps side by side. */
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { expect } from 'vitest'
import { type Decision, type Claim, type Completion, claim, complete, release, renew } from '../../services/idempotency/claim.ts'
import { type Engine, fingerprintOf, freshKey, hourMs, retentionMs, times } from './claim-requests.ts'

const attempts = 4
const attempt = fc.nat(attempts - 1)
const response = fc.option(fc.uint8Array({ maxLength: 4 }), { nil: undefined })

/** A real clock moves on a little during a walk: what matters in one is seconds apart. */
const [claimLeaseMs, renewLeaseMs] = [25_000, 45_000]
const waits = [10_000, 60_000, 12 * hourMs, 24 * hourMs]

const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('claim' as const), attempt, work: fc.constantFrom('a', 'a', 'a', 'b', undefined) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('renew' as const), attempt }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('complete' as const), attempt, run: attempt, fenced: fc.boolean(), response }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('release' as const), attempt }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(...waits) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reap' as const) }) },
)
export const commands = fc.array(command, { minLength: 1, maxLength: 40 })

type Command = typeof command extends fc.Arbitrary<infer T> ? T : never

/** How much of a lease is left depends on the very moment. */
function withoutTimes(answer: Decision): object {
  const { leaseMs: _lease, retryAfterMs: _retry, ...rest } = answer as unknown as Record<string, unknown>
  return { ...rest, ...(rest.response instanceof Uint8Array ? { response: [...rest.response] } : {}) }
}

/** Expects every answer of the store to be that of the steps. */
export async function walk({ store, advance }: Engine, walked: readonly Command[]): Promise<void> {
  const key = freshKey()
  const each = times(attempts, () => ({ attemptId: randomUUID(), runId: randomUUID(), token: randomUUID() as string }))
  let held: Claim | undefined
  let now = 0
  for (const asked of walked) {
    const at = { now, retentionMs }
    switch (asked.do) {
      case 'wait':
        now += asked.ms
        await advance(asked.ms)
        break
      case 'reap':
        await store.reap(1000)
        break
      case 'claim': {
        const fingerprint = asked.work === undefined ? undefined : fingerprintOf(asked.work)
        const request = { ...each[asked.attempt]!, fingerprint, leaseMs: claimLeaseMs, token: randomUUID() }
        const step = claim(held, request, at)
        held = step.next
        if (step.answer.outcome === 'granted') each[asked.attempt]!.token = step.answer.token
        expect(withoutTimes(await store.claim(key, request))).toEqual(withoutTimes(step.answer))
        break
      }
      case 'renew': {
        const renewal = { token: each[asked.attempt]!.token, leaseMs: renewLeaseMs }
        const step = renew(held, renewal, at)
        held = step.next
        expect(await store.renew(key, renewal)).toBe(step.answer)
        break
      }
      case 'complete': {
        const { token } = each[asked.attempt]!
        const proof = asked.fenced ? { token, response: asked.response } : { token: undefined, response: undefined }
        const completion: Completion = { runId: each[asked.run]!.runId, ...proof }
        const step = complete(held, completion, at)
        held = step.next
        expect(await store.complete(key, completion)).toBe(step.answer)
        break
      }
      case 'release': {
        const { token } = each[asked.attempt]!
        const step = release(held, token, at)
        held = step.next
        expect(await store.release(key, token)).toBe(step.answer)
        break
      }
    }
  }
}
