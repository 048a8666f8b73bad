import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ClaimRequest, claim, complete } from '../../../services/idempotency/claim.ts'
import { World, retentionMs, works } from './claim-model.ts'

type Turn = (fixture: World) => void

const attempt = fc.nat(3)
const work = fc.constantFrom('a' as const, 'a' as const, 'a' as const, 'b' as const, undefined)
const leaseMs = fc.constantFrom(1, 1000, 30_000, 60_000)
const response = fc.option(fc.uint8Array({ maxLength: 8 }), { nil: undefined })
const passing = fc.constantFrom(1, 999, 1000, 29_999, 60_000, retentionMs - 1, retentionMs)
/** One of the tokens there ever were, the latest more often, or one that never was. */
const token = fc.nat(4).map((back) => (fixture: World) => fixture.tokens.at(-1 - back) ?? 'no token')

const turn: fc.Arbitrary<Turn> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(attempt, work, leaseMs).map(
      (asked): Turn =>
        (fixture) =>
          fixture.claim(...asked),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(token, leaseMs).map(
      ([of, lease]): Turn =>
        (fixture) =>
          fixture.renew(of(fixture), lease),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(token, response).map(
      ([of, stored]): Turn =>
        (fixture) =>
          fixture.complete(of(fixture), stored),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.boolean().map(
      (mine): Turn =>
        (fixture) =>
          fixture.completeByRun(mine),
    ),
  },
  {
    weight: 1,
    arbitrary: token.map(
      (of): Turn =>
        (fixture) =>
          fixture.release(of(fixture)),
    ),
  },
  {
    weight: 4,
    arbitrary: passing.map(
      (ms): Turn =>
        (fixture) =>
          void (fixture.now += ms),
    ),
  },
)

describe('the life of a claim', () => {
  test('however attempts claim, renew, complete and release: one holder, no token twice, one run, and answers that last 24 hours', () => {
    fc.assert(
      fc.property(fc.array(turn, { minLength: 1, maxLength: 80 }), (turns) => {
        const fixture = new World()
        for (const each of turns) {
          each(fixture)
          fixture.checkHolders()
        }
      }),
    )
  })

  const first: ClaimRequest = { fingerprint: works.a, attemptId: 'one', runId: 'run', leaseMs: 30_000, token: 'token' }
  const asked = (over: Partial<ClaimRequest> = {}): ClaimRequest => ({ ...first, ...over })
  const heldAt = (now: number) => claim(undefined, asked(), { now, retentionMs }).next!

  test('a lease holds up to its very end and no longer', () => {
    const held = heldAt(1000)
    const other = asked({ attemptId: 'two', token: 'other' })
    expect(claim(held, other, { now: 30_999, retentionMs }).answer).toEqual({ outcome: 'in_flight', runId: 'run', retryAfterMs: 1 })
    expect(claim(held, other, { now: 31_000, retentionMs }).answer).toMatchObject({ outcome: 'granted', takenOver: true })
  })

  test('a completed claim answers up to the end of its 24 hours and no longer', () => {
    const { next: ended } = complete(heldAt(0), { runId: 'run', token: 'token', response: undefined }, { now: 5000, retentionMs })
    const look = asked({ fingerprint: undefined })
    expect(claim(ended, look, { now: 5000 + retentionMs - 1, retentionMs }).answer.outcome).toBe('completed')
    expect(claim(ended, look, { now: 5000 + retentionMs, retentionMs }).answer.outcome).toBe('absent')
  })

  test('nobody is told to ask again later than the lease runs out, nor later than a second', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 600_000 }), fc.nat(700_000), (lease, after) => {
        const { next } = claim(undefined, asked({ leaseMs: lease }), { now: 0, retentionMs })
        const { answer } = claim(next, asked({ fingerprint: undefined }), { now: after, retentionMs })
        if (answer.outcome !== 'in_flight') throw new Error(answer.outcome)
        expect(answer.retryAfterMs).toBeGreaterThan(0)
        expect(answer.retryAfterMs).toBeLessThanOrEqual(1000)
        if (after < lease) expect(answer.retryAfterMs).toBeLessThanOrEqual(lease - after)
      }),
    )
  })
})
