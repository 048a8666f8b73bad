import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { meshErrors } from '#mesh/errors.ts'
import { type Channel, methodsOf } from '#mesh/grpc/client.ts'
import type { Claim, Claims } from './claims.ts'
import type { KeyKind, RunKey } from './runs/run.ts'

/** Only until the run row exists: from then on the run is the truth. */
const leaseMs = 5000

const kinds: readonly KeyKind[] = ['client', 'preview']

const claimKey = ({ workspace, kind, key }: RunKey) => ({ workspace, keyKind: kind, key })

export function grpcClaims(channel: Channel): Claims {
  const idempotency = methodsOf(IdempotencyServiceService, channel)
  const orUnavailable = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call
    } catch (cause) {
      // Whatever happened, the state of the claim is unknown here: fail closed.
      throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause, retryAfterMs: 1000 })
    }
  }
  return {
    async claim({ key, fingerprint, compare, attemptId, runId }, context): Promise<Claim> {
      const { outcome } = await orUnavailable(
        idempotency.claim({ key: claimKey(key), fingerprint, compare, attemptId, runId, leaseMs }, context, { timeoutMs: 2000 }),
      )
      switch (outcome?.$case) {
        case 'granted':
          return { outcome: 'granted', token: outcome.value.token, runId: outcome.value.runId }
        case 'completed':
          return { outcome: 'completed', runId: outcome.value.runId }
        case 'inFlight':
          return { outcome: 'in-flight', runId: outcome.value.runId, retryAfterMs: outcome.value.retryAfterMs }
        case 'mismatch':
          return { outcome: 'mismatch', runId: outcome.value.runId }
        case 'absent':
          return { outcome: 'absent' }
        default:
          // A newer service may have outcomes that this code does not know: none of them is a grant.
          throw meshErrors.DEPENDENCY_UNAVAILABLE()
      }
    },
    async release(key, token, context) {
      await orUnavailable(idempotency.release({ key: claimKey(key), token }, context))
    },
    async expired({ expiredForMs, limit }, context) {
      const { expired } = await orUnavailable(idempotency.listExpired({ keyKinds: [...kinds], expiredForMs, limit }, context))
      return expired.map(({ key, runId }) => ({
        key: { workspace: key!.workspace, kind: key!.keyKind as KeyKind, key: key!.key },
        runId,
      }))
    },
    async abandon(key, runId, context) {
      await orUnavailable(idempotency.abandon({ key: claimKey(key), runId }, context))
    },
    async complete(key, runId, context) {
      await orUnavailable(idempotency.complete({ key: claimKey(key), runId, token: undefined, response: undefined }, context))
    },
  }
}
