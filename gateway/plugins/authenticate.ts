/**
 * The one plugin that turns an API key into a caller. It asks access once per key, and TokenExchange caches the result. The caller token,
 * never the key, goes on to the services, which verify it themselves.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { DenialCounter } from '#mesh/audit/denials.ts'
import { meshErrors } from '#mesh/errors.ts'
import { bearerToken } from '#mesh/grpc/caller.ts'
import { parseSource } from '#mesh/grpc/source.ts'
import type { Rejection, CallerTokenSource, Authenticated } from '#mesh/token-exchange.ts'
import { errors } from '../errors.ts'
import { holdsKey } from '../contract/query.ts'

export interface AuthenticateParts {
  tokenSource: Pick<CallerTokenSource, 'caller'>
  /** Records rejected keys and denied permissions that access did not see itself. */
  denials?: DenialCounter | undefined
}

/** For every route of the instance. The config of a route names the permission that it requires. */
export function authenticate(app: FastifyInstance, { tokenSource, denials }: AuthenticateParts): void {
  app.addHook('onRequest', (request, _reply, done) => {
    // This check comes first: such a key should be revoked, whether or not it is valid.
    if (holdsKey(request.query as string)) return done(errors.KEY_IN_QUERY())
    const shown = bearerToken(request.headers.authorization)
    if (shown === undefined) return done(meshErrors.UNAUTHENTICATED())
    // Fastify has no address for a client that has already disconnected.
    request.source = parseSource(request.ip ?? '')
    const admit = (response: Authenticated | Rejection) => done(refusalOf(request, response, denials))
    let response: ReturnType<typeof tokenSource.caller>
    try {
      response = tokenSource.caller(shown, { requestId: request.id, trace: request.scope.trace, source: request.source })
    } catch (error) {
      return done(error as Error)
    }
    if (response instanceof Promise) response.then(admit, done)
    else admit(response)
  })
}

function refusalOf(request: FastifyRequest, response: Authenticated | Rejection, denials: DenialCounter | undefined): Error | undefined {
  const asked = { requestId: request.id, traceId: request.scope.trace.traceId, source: request.source ?? '' }
  if (response.caller === undefined) {
    if (!response.counted) denials?.note({ action: 'sign_in.refused', reason: response.reason, ...response.of, ...asked })
    return response.error
  }
  const { caller, token } = response
  request.caller = caller
  request.scope.work.workspace = caller.workspace
  request.callerToken = token
  const { permission } = request.routeOptions.config
  if (permission === undefined || caller.may(permission)) return undefined
  const { workspace, actor, keyId } = caller
  denials?.note({ action: 'permission.refused', reason: 'PERMISSION_DENIED', workspace, actor, keyId, ...asked })
  return meshErrors.PERMISSION_DENIED({ message: `The caller lacks the permission ${permission}.` })
}
