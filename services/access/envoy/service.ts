/**
 * envoy.service.auth.v3.Authorization: what Envoy asks of every request that it holds (ext_authz). It is the gateway's sign-in for those
 * who come by Envoy: an API key goes in, a caller token goes on. Without a valid key nothing does, whatever its path.
 */
import { AuthorizationService, type CheckResponse, type HeaderValueOption } from '#gen/envoy/service/auth/v3/external_auth.ts'
import type { RefusalCounter } from '#mesh/audit/refusals.ts'
import { MeshError, codes, meshErrors } from '#mesh/errors.ts'
import type { Context } from '#mesh/grpc/call.ts'
import { bearerToken } from '#mesh/grpc/caller.ts'
import { type Served, served } from '#mesh/grpc/server.ts'
import { parseSource } from '#mesh/grpc/source.ts'
import type { NotSignedIn, SignIn } from '#mesh/sign-in.ts'
import { key as header } from '#mesh/telemetry/names.ts'

export interface ServiceParts {
  signIn: Pick<SignIn, 'caller'>
  refusals: RefusalCounter
}

export function authorizationService({ signIn, refusals }: ServiceParts): Served {
  return served(AuthorizationService, {
    async check({ attributes }, call) {
      const headers = attributes?.request?.http?.headers ?? {}
      const source = parseSource(attributes?.source?.address?.socketAddress?.address ?? '')
      const context = { requestId: requestIdIn(headers) ?? call.requestId, trace: call.trace, source }
      try {
        const apiKey = bearerToken(headers[header.authorization])
        if (apiKey === undefined) throw meshErrors.UNAUTHENTICATED()
        const answer = await signIn.caller(apiKey, context)
        if (answer.caller === undefined) {
          if (!answer.counted) note(answer, context, refusals)
          throw answer.error
        }
        return allowed(answer.token, source, Object.keys(headers))
      } catch (error) {
        if (error instanceof MeshError && Object.hasOwn(statuses, error.code)) return denied(error, context.requestId)
        throw error
      }
    },
  })
}

/** What goes on is what we say of the caller; what they say of themselves in our words is taken away. */
function allowed(token: string, source: string | undefined, sent: readonly string[]): CheckResponse {
  const headers = [overwriting(header.authorization, `Bearer ${token}`)]
  if (source !== undefined) headers.push(overwriting(header.source, source))
  // Envoy removes after it has written: what it is to write does not stand here.
  const ours = new Set([header.peer, header.source, ...sent.filter((name) => name.startsWith('x-relay-'))])
  if (source !== undefined) ours.delete(header.source)
  return {
    status: { code: 0, message: '', details: [] },
    httpResponse: { $case: 'okResponse', value: { headers, headersToRemove: [...ours] } },
  }
}

/** As the gateway answers (gateway/problem.ts), of the few that there are here. All else fails the call, and Envoy lets nothing on. */
const statuses: Readonly<Record<string, number>> = {
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  UNAVAILABLE: 503,
}
const defaultRetryMs = 1000

function denied({ code, reason, message, retryAfterMs = defaultRetryMs }: MeshError, requestId: string): CheckResponse {
  // A process that is full says nothing of this caller.
  const status = reason === 'OVERLOADED' ? 503 : statuses[code]!
  const title = reason.charAt(0) + reason.slice(1).toLowerCase().replaceAll('_', ' ')
  const headers = [overwriting('content-type', 'application/problem+json; charset=utf-8')]
  // RFC 9110, 15.5.2: every 401 says how to authenticate.
  if (status === 401) headers.push(overwriting('www-authenticate', 'Bearer realm="relay"'))
  if (status === 429 || status === 503) headers.push(overwriting('retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1000)))))
  const body = JSON.stringify({ type: `/docs#${reason}`, title, status, detail: message, reason, request_id: requestId })
  return {
    status: { code: codes[code], message, details: [] },
    httpResponse: { $case: 'deniedResponse', value: { status: { code: status }, headers, body } },
  }
}

/** OVERWRITE_IF_EXISTS_OR_ADD of envoy.config.core.v3.HeaderValueOption. */
const overwriting = (key: string, value: string): HeaderValueOption => ({ header: { key, value }, appendAction: 2 })

/** Envoy's own, or one that it let through: to be found in both logs. */
function requestIdIn(headers: Readonly<Record<string, string>>): string | undefined {
  const id = headers[header.requestId]
  return id !== undefined && /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id) ? id : undefined
}

function note({ reason, of }: NotSignedIn, { requestId, trace, source = '' }: Context, refusals: RefusalCounter): void {
  refusals.note({ ...of, requestId, traceId: trace.traceId, source, action: 'sign_in.refused', reason })
}
