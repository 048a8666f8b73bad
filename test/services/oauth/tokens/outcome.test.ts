import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ProviderFailure } from '../../../../services/oauth/providers/provider-error.ts'
import { outcomeOf, restMs } from '../../../../services/oauth/tokens/outcome.ts'

const refused = (code: string, status = 400): ProviderFailure => ({ kind: 'refused', code, status })

describe('what a provider answers means', () => {
  test.each([
    [refused('invalid_grant'), { what: 'reauth', reason: 'GRANT_ENDED' }],
    [refused('invalid_grant', 401), { what: 'reauth', reason: 'GRANT_ENDED' }],
    [refused('interaction_required'), { what: 'reauth', reason: 'INTERACTION_REQUIRED' }],
    [refused('login_required'), { what: 'reauth', reason: 'INTERACTION_REQUIRED' }],
    [refused('consent_required'), { what: 'reauth', reason: 'INTERACTION_REQUIRED' }],
    [refused('invalid_client', 401), { what: 'invalid_client', code: 'invalid_client' }],
    [refused('unauthorized_client'), { what: 'invalid_client', code: 'unauthorized_client' }],
    [refused('invalid_request'), { what: 'invalid_client', code: 'invalid_request' }],
    [refused('invalid_scope'), { what: 'invalid_client', code: 'invalid_scope' }],
    [refused('unsupported_grant_type'), { what: 'invalid_client', code: 'unsupported_grant_type' }],
    [refused('other', 401), { what: 'invalid_client', code: 'invalid_client' }],
    [refused('other', 403), { what: 'later', why: 'other' }],
    [refused('access_denied', 403), { what: 'later', why: 'other' }],
    [
      { kind: 'busy', status: 429, retryAfterMs: 7000 },
      { what: 'later', why: 'rate_limited', retryAfterMs: 7000 },
    ],
    [
      { kind: 'busy', status: 503, retryAfterMs: undefined },
      { what: 'later', why: 'server_error', retryAfterMs: undefined },
    ],
    [{ kind: 'unreachable' }, { what: 'later', why: 'unreachable' }],
    [{ kind: 'unreadable' }, { what: 'later', why: 'unreadable' }],
    [{ kind: 'foreign' }, { what: 'later', why: 'issuer_mismatch' }],
  ] as const)('%j: %j', (failure, outcome) => {
    expect(outcomeOf(failure)).toEqual(outcome)
  })

  test('the end of a connection in four cases and in no other, whatever code somebody thinks up', () => {
    const ends = new Set(['invalid_grant', 'interaction_required', 'login_required', 'consent_required'])
    const code = fc.oneof(fc.string(), fc.constantFrom(...ends, 'constructor', '__proto__', 'toString', 'INVALID_GRANT', 'invalid_grant '))
    fc.assert(
      fc.property(code, fc.integer({ min: 400, max: 428 }), (each, status) => {
        expect(outcomeOf(refused(each, status)).what === 'reauth').toBe(ends.has(each))
      }),
    )
  })
})

describe('a provider that failed is left alone', () => {
  const chance = fc.double({ min: 0, max: 1, noNaN: true })

  test('for a second at first, then longer, five minutes at the most, half of it by chance', () => {
    expect(restMs(1, undefined, 0)).toBe(500)
    expect([1, 2, 5, 40].map((failures) => restMs(failures, undefined, 1))).toEqual([1000, 2000, 16_000, 300_000])
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000 }), chance, (failures, random) => {
        const ms = restMs(failures, undefined, random)
        expect(ms).toBeGreaterThanOrEqual(500)
        expect(ms).toBeLessThanOrEqual(300_000)
      }),
    )
  })

  test('never for less than it asked, up to an hour and a second', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: -10, max: 100_000_000 }), chance, (failures, asked, random) => {
        const ms = restMs(failures, asked, random)
        expect(ms).toBeGreaterThanOrEqual(Math.min(asked, 3_600_000))
        expect(ms).toBeLessThanOrEqual(3_601_000)
      }),
    )
  })
})
