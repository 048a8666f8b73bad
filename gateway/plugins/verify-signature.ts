/** X-Signature on requests: the hex HMAC-SHA256 of the exact body, with the key of the caller's workspace (mesh/signature.ts). */
import type { FastifyInstance } from 'fastify'
import type { Secret } from '#mesh/config.ts'
import { verify, workspaceSigningKey } from '#mesh/signature.ts'
import { errors } from '../errors.ts'

export interface SignatureParts {
  secret: Secret | undefined
  /** Whether bodies without a signature are refused. */
  required: boolean
}

/** For every route of the instance; after authenticate. What is signed must verify, even where nothing has to be signed. */
export function verifySignature(app: FastifyInstance, { secret, required }: SignatureParts): void {
  app.addHook('preHandler', (request, _reply, done) => {
    const signature = request.headers['x-signature']
    if (signature === undefined) {
      done(required && request.routeOptions.config.takesBody === true ? errors.SIGNATURE_REQUIRED() : undefined)
      return
    }
    if (secret === undefined) {
      done(errors.SIGNATURE_INVALID({ message: 'X-Signature cannot be verified here: no signing secret is configured.' }))
      return
    }
    const key = workspaceSigningKey(secret.reveal(), request.caller!.workspace)
    const body = (request.body as Buffer | undefined) ?? Buffer.alloc(0)
    done(verify(key, body, signature as string) ? undefined : errors.SIGNATURE_INVALID())
  })
}
