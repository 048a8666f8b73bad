/** A SignIn whose clock, access and verifier a test decides. */
import type { ExchangeRequest, ExchangeResponse } from '#gen/relay/access/v1/access.ts'
import { newApiKey } from '#mesh/api-key.ts'
import { meshErrors } from '#mesh/errors.ts'
import { type Context, ownContext } from '#mesh/grpc/call.ts'
import { CallerTokens } from '#mesh/identity/caller-tokens.ts'
import { type Rejection, CallerTokenSource, type CallerTokenSourceParts, type Authenticated } from '#mesh/token-exchange.ts'
import { type FakeCaller, type FakeMesh, fakeMesh } from '../fakes/identity.ts'

export const minute = 60_000
export const key = newApiKey('test')
export const from = (source?: string): Context => ({ ...ownContext(), source })
export const away = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())
export const unknown = () => Promise.reject(meshErrors.UNAUTHENTICATED({ message: 'no such key' }))

export interface Harness {
  now: number
  mesh: FakeMesh
  tokens: CallerTokens
  /** What access was asked. */
  requests: { request: ExchangeRequest; context: Context }[]
  /** What access answers. */
  answer: (request: ExchangeRequest) => Promise<ExchangeResponse>
  tokenSource: CallerTokenSource
  granted(caller?: FakeCaller, more?: Partial<ExchangeResponse>): ExchangeResponse
  use(source?: string, apiKey?: string): Promise<Authenticated | Rejection>
  /** Until what was begun in the background has ended. */
  settled(): Promise<void>
}

export function openHarness(more: Partial<CallerTokenSourceParts> = {}): Harness {
  const mesh = fakeMesh()
  const tokens = new CallerTokens()
  tokens.update({ signingKeys: mesh.signingKeys })
  /** What access and the verifier were asked, and may still be at. */
  const begun: unknown[] = []
  const began = <T>(work: T): T => {
    begun.push(work)
    return work
  }
  const harness: Harness = {
    now: 1_000_000,
    mesh,
    tokens,
    requests: [],
    answer: async () => harness.granted(),
    tokenSource: new CallerTokenSource({
      exchange: (request, context) => {
        harness.requests.push({ request, context })
        return began(harness.answer(request))
      },
      verifier: { caller: (token) => began(tokens.caller(token)) },
      env: 'test',
      now: () => harness.now,
      ...more,
    }),
    granted: (caller = {}, response = {}) => ({
      token: mesh.callerToken(caller),
      expiresAt: '2026-01-01T00:00:00.000Z',
      expiresInMs: 5 * minute,
      workspace: 'acme',
      actor: 'ann',
      keyId: 'key-of-ann',
      permissions: ['actions:read'],
      allowedSources: [],
      ...response,
    }),
    use: async (source, apiKey = key) => harness.tokenSource.caller(apiKey, from(source)),
    async settled() {
      for (let waitedFor = -1; waitedFor < begun.length;) {
        waitedFor = begun.length
        await Promise.allSettled(begun)
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  }
  return harness
}
