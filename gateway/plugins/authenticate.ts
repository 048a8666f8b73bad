/** Who is calling: the one plugin that turns what a caller shows into a caller. The token goes on to the services, which verify it too. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { meshErrors } from '#mesh/errors.ts'
import { type Caller, type Verifier, bearerToken } from '#mesh/grpc/caller.ts'
import { errors } from '../errors.ts'

/** Where people put keys by mistake. */
const keyInQuery = /(?:^|&)(?:api_?key|key|access_token|token)=/i

/** For every route of the instance. A route says in its config which permission it wants. */
export function authenticate(app: FastifyInstance, verifier: Verifier): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const query = request.query as string
    // Before anything else: such a key is to be withdrawn, whether or not it is valid.
    if (query !== '' && keyInQuery.test(query)) {
      done(errors.KEY_IN_QUERY())
      return
    }
    const token = bearerToken(request.headers.authorization)
    if (token === undefined) {
      done(meshErrors.UNAUTHENTICATED())
      return
    }
    const admit = (caller: Caller | undefined) => done(refusal(request, token, caller))
    try {
      const caller = verifier.caller(token)
      if (caller instanceof Promise) caller.then(admit, done)
      else admit(caller)
    } catch (error) {
      done(error as Error)
    }
  })
}

function refusal(request: FastifyRequest, token: string, caller: Caller | undefined): Error | undefined {
  if (caller === undefined) return meshErrors.UNAUTHENTICATED()
  request.caller = caller
  request.callerToken = token
  const permission = request.routeOptions.config.permission
  if (permission !== undefined && !caller.may(permission)) {
    return meshErrors.PERMISSION_DENIED({ message: `The caller lacks the permission ${permission}.` })
  }
  return undefined
}
