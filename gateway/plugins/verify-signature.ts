/**
 * X-Signature on requests: the hex HMAC-SHA256 of the exact body, with the inbound key of the caller's workspace (mesh/signature-keys.ts).
 * During an overlap the previous key is valid too, and reported: to the client in a header, to operators in a metric, to admins in the
 * audit log.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { DenialCounter } from '#mesh/audit/denials.ts'
import { verify } from '#mesh/signature.ts'
import type { ActiveSignatureKeys, SignatureKeyring } from '#mesh/signature-states.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import { errors } from '../errors.ts'

export interface SignatureParts {
  /** Undefined where no secret is configured. */
  signatures?: Pick<SignatureKeyring, 'of'> | undefined
  /** Whether bodies without a signature are rejected. */
  required: boolean
  /** Records signatures made with a previous key. */
  denials?: DenialCounter | undefined
  metrics: Metrics
}

/** For every route of the instance; after authenticate. A signature must verify even if the route requires none. */
export function verifySignature(app: FastifyInstance, { signatures, required, denials, metrics }: SignatureParts): void {
  const verified = metrics.counter('http_signatures_total', 'Signed requests by the key that signed them', {
    key: ['newest', 'previous', 'none'],
  })
  app.addHook('preHandler', (request, reply, done) => {
    const signature = request.headers['x-signature'] as string | undefined
    if (signature === undefined) {
      done(required && request.routeOptions.config.takesBody === true ? errors.SIGNATURE_REQUIRED() : undefined)
      return
    }
    if (signatures === undefined) {
      done(
        errors.SIGNATURE_INVALID({
          message:
            'X-Signature cannot be verified, because no signing secret is configured. Send no X-Signature, or ask an operator to set SIGNATURE_ROOT_SECRET.',
        }),
      )
      return
    }
    let keys: ActiveSignatureKeys
    try {
      keys = signatures.of('inbound', request.caller!.workspace)
    } catch (error) {
      done(error as Error)
      return
    }
    const key = signedBy(keys, (request.body as Buffer | undefined) ?? Buffer.alloc(0), signature)
    verified.inc({ key: key ?? 'none' })
    if (key === 'previous') {
      reply.header('X-Signature-Key', 'previous')
      denials?.note(flagOf(request))
    }
    done(key === undefined ? errors.SIGNATURE_INVALID() : undefined)
  })
}

function signedBy({ newest, previous }: ActiveSignatureKeys, body: Buffer, signature: string): 'newest' | 'previous' | undefined {
  if (verify(newest, body, signature)) return 'newest'
  return previous !== undefined && verify(previous, body, signature) ? 'previous' : undefined
}

function flagOf(request: FastifyRequest) {
  const { workspace, actor, keyId } = request.caller!
  const asked = { requestId: request.id, traceId: request.scope.trace.traceId, source: request.source ?? '' }
  return { action: 'signature.previous_key', outcome: 'success', reason: '', workspace, actor, keyId, ...asked } as const
}
