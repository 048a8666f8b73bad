/**
 * Who is calling: the one plugin that turns an API key into a caller. Access is asked once and SignIn keeps what it said; the caller token,
 * never the key, goes on to the services, which verify it by themselves.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { RefusalCounter } from '#mesh/audit/refusals.ts'
import { meshErrors } from '#mesh/errors.ts'
import { bearerToken } from '#mesh/grpc/caller.ts'
import { parseSource } from '#mesh/grpc/source.ts'
import type { NotSignedIn, SignIn, SignedIn } from '#mesh/sign-in.ts'
import { errors } from '../errors.ts'
import { holdsKey } from '../query.ts'

export interface AuthenticateParts {
  signIn: Pick<SignIn, 'caller'>
  /** Is told of refused sign-ins and permissions that access did not see itself. */
  refusals?: RefusalCounter | undefined
}

/** For every route of the instance. A route says in its config which permission it wants. */
export function authenticate(app: FastifyInstance, { signIn, refusals }: AuthenticateParts): void {
  app.addHook('onRequest', (request, _reply, done) => {
    // Before anything else: such a key is to be withdrawn, whether or not it is valid.
    if (holdsKey(request.query as string)) return done(errors.KEY_IN_QUERY())
    const shown = bearerToken(request.headers.authorization)
    if (shown === undefined) return done(meshErrors.UNAUTHENTICATED())
    // Fastify has no address for a client that has gone already.
    request.source = parseSource(request.ip ?? '')
    const admit = (answer: SignedIn | NotSignedIn) => done(refusalOf(request, answer, refusals))
    let answer: ReturnType<typeof signIn.caller>
    try {
      answer = signIn.caller(shown, { requestId: request.id, trace: request.scope.trace, source: request.source })
    } catch (error) {
      return done(error as Error)
    }
    if (answer instanceof Promise) answer.then(admit, done)
    else admit(answer)
  })
}

function refusalOf(request: FastifyRequest, answer: SignedIn | NotSignedIn, refusals: RefusalCounter | undefined): Error | undefined {
  const asked = { requestId: request.id, traceId: request.scope.trace.traceId, source: request.source ?? '' }
  if (answer.caller === undefined) {
    if (!answer.counted) refusals?.note({ action: 'sign_in.refused', reason: answer.reason, ...answer.of, ...asked })
    return answer.error
  }
  const { caller, token } = answer
  request.caller = caller
  request.scope.work.workspace = caller.workspace
  request.callerToken = token
  const { permission } = request.routeOptions.config
  if (permission === undefined || caller.may(permission)) return undefined
  const { workspace, actor, keyId } = caller
  refusals?.note({ action: 'permission.refused', reason: 'PERMISSION_DENIED', workspace, actor, keyId, ...asked })
  return meshErrors.PERMISSION_DENIED({ message: `The caller lacks the permission ${permission}.` })
}
