/**
 * envoy.service.auth.v3.Authorization: Envoy calls it for every request that it holds (ext_authz). It does for Envoy what the gateway does
 * itself: it exchanges an API key for a caller token. Without a valid key no request passes, whatever its path.
 */
import { AuthorizationService, type CheckResponse, type HeaderValueOption } from '#gen/envoy/service/auth/v3/external_auth.ts'
import type { DenialCounter } from '#mesh/audit/denials.ts'
import { type Code, MeshError, codes, meshErrors } from '#mesh/errors.ts'
import type { Context } from '#mesh/grpc/call.ts'
import { bearerToken } from '#mesh/grpc/caller.ts'
import { type BoundServer, served } from '#mesh/grpc/server.ts'
import { parseSource } from '#mesh/grpc/source.ts'
import { toProblem } from '#mesh/problem.ts'
import type { Rejection, CallerTokenSource } from '#mesh/token-exchange.ts'
import { key as header } from '#mesh/telemetry/names.ts'
import { isUuid } from '#mesh/uuid.ts'

export interface ServiceParts {
  tokenSource: Pick<CallerTokenSource, 'caller'>
  denials: DenialCounter
}

export function authorizationService({ tokenSource, denials }: ServiceParts): BoundServer {
  return served(AuthorizationService, {
    async check({ attributes }, call) {
      const headers = attributes?.request?.http?.headers ?? {}
      const source = parseSource(attributes?.source?.address?.socketAddress?.address ?? '')
      const context = { requestId: requestIdIn(headers) ?? call.requestId, trace: call.trace, source }
      try {
        const apiKey = bearerToken(headers[header.authorization])
        if (apiKey === undefined) throw meshErrors.UNAUTHENTICATED()
        const response = await tokenSource.caller(apiKey, context)
        if (response.caller === undefined) {
          if (!response.counted) note(response, context, denials)
          throw response.error
        }
        return allowed(response.token, source, Object.keys(headers))
      } catch (error) {
        if (error instanceof MeshError && answered.has(error.code)) return denied(error, context.requestId)
        throw error
      }
    },
  })
}

/** Forwards what Relay knows about the caller, and removes the client's own headers of those names. */
function allowed(token: string, source: string | undefined, sent: readonly string[]): CheckResponse {
  const headers = [overwriting(header.authorization, `Bearer ${token}`)]
  if (source !== undefined) headers.push(overwriting(header.source, source))
  // Envoy removes headers after it has written headers, so this list must not name those that it writes.
  const ours = new Set([header.peer, header.source, ...sent.filter((name) => name.startsWith('x-relay-'))])
  if (source !== undefined) ours.delete(header.source)
  return {
    status: { code: 0, message: '', details: [] },
    httpResponse: { $case: 'okResponse', value: { headers, headersToRemove: [...ours] } },
  }
}

/** The errors that a client sees. Any other error fails the call, and Envoy lets nothing pass. */
const answered: ReadonlySet<Code> = new Set(['UNAUTHENTICATED', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'UNAVAILABLE'])

/** The response that the gateway would give. */
function denied(error: MeshError, requestId: string): CheckResponse {
  const { status, headers, body } = toProblem(error, requestId)
  const sent = Object.entries(headers).map(([name, value]) => overwriting(name, value))
  return {
    status: { code: codes[error.code], message: error.message, details: [] },
    httpResponse: { $case: 'deniedResponse', value: { status: { code: status }, headers: sent, body } },
  }
}

/** OVERWRITE_IF_EXISTS_OR_ADD of envoy.config.core.v3.HeaderValueOption. */
const overwriting = (key: string, value: string): HeaderValueOption => ({ header: { key, value }, appendAction: 2 })

/** Envoy's own request id, or one that it accepted, so that the request can be found in both logs. */
function requestIdIn(headers: Readonly<Record<string, string>>): string | undefined {
  const id = headers[header.requestId]
  return id !== undefined && isUuid(id) ? id : undefined
}

function note({ reason, of }: Rejection, { requestId, trace, source = '' }: Context, denials: DenialCounter): void {
  denials.note({ ...of, requestId, traceId: trace.traceId, source, action: 'sign_in.refused', reason })
}
