/** The RPCs of relay.idempotency.v1: proto ⇄ domain. */
import { randomUUID } from 'node:crypto'
import { type ClaimKey as KeyMessage, type ClaimResponse, IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { meshErrors } from '#mesh/errors.ts'
import { type BoundServer, served } from '#mesh/grpc/server.ts'
import { annotate } from '#mesh/telemetry/scope.ts'
import type { Decision, ClaimKey, FencedResult } from './claim.ts'
import { errors } from './errors.ts'
import type { Instruments } from './metrics.ts'
import type { ClaimStore } from './store.ts'

export interface ServiceParts {
  store: ClaimStore
  /** The lease of a grant whose caller does not specify one. */
  leaseMs: number
  instruments: Instruments
}

export function idempotencyService({ store, leaseMs, instruments }: ServiceParts): BoundServer {
  const hold = (operation: 'renew' | 'complete' | 'release', outcome: FencedResult): Record<string, never> => {
    if (outcome === 'done') return {}
    instruments.fenced.inc({ operation })
    throw errors.STALE_TOKEN()
  }
  return served(IdempotencyServiceService, {
    async claim(request) {
      const answer = await store.claim(keyOf(request.key), {
        fingerprint: request.fingerprint,
        compare: request.compare,
        attemptId: idOf(request.attemptId),
        runId: idOf(request.runId),
        leaseMs: request.leaseMs || leaseMs,
        token: randomUUID(),
      })
      // The run of the claim: the run in the request is only a proposal.
      if ('runId' in answer) annotate({ runId: answer.runId })
      instruments.claims.inc({ outcome: answer.outcome === 'granted' && answer.takenOver ? 'taken_over' : answer.outcome })
      return { outcome: outcomeOf(answer) }
    },

    async renew(request) {
      const renewal = { token: idOf(request.token), leaseMs: request.leaseMs || leaseMs }
      return hold('renew', await store.renew(keyOf(request.key), renewal))
    },

    async complete({ key, runId, token, response }) {
      annotate({ runId: idOf(runId) })
      if (response !== undefined && token === undefined) throw errors.RESPONSE_NEEDS_TOKEN()
      const completion = { runId: idOf(runId), token: token === undefined ? undefined : idOf(token), response }
      return hold('complete', await store.complete(keyOf(key), completion))
    },

    async release({ key, token }) {
      return hold('release', await store.release(keyOf(key), idOf(token)))
    },

    async listExpired({ keyKinds, expiredForMs, limit }) {
      const expired = await store.expired({ kinds: keyKinds, expiredForMs, limit: limit || 100 })
      return { expired: expired.map(({ key: { workspace, kind: keyKind, key }, runId }) => ({ key: { workspace, keyKind, key }, runId })) }
    },

    async abandon({ key, runId }) {
      annotate({ runId: idOf(runId) })
      await store.abandon(keyOf(key), idOf(runId))
      return {}
    },
  })
}

/** The contract requires the key. Not every text store can hold U+0000. */
function keyOf(message: KeyMessage | undefined): ClaimKey {
  const { workspace, keyKind: kind, key } = message!
  annotate({ workspace })
  const violations = Object.entries({ 'key.workspace': workspace, 'key.key': key })
    .filter(([, text]) => text.includes('\0'))
    .map(([field]) => ({ field, description: 'must not contain U+0000' }))
  if (violations.length > 0) throw meshErrors.INVALID_REQUEST({ violations })
  return { workspace, kind, key }
}

/** A UUID in one spelling, so that it can be compared. */
const idOf = (uuid: string): string => uuid.toLowerCase()

function outcomeOf(answer: Decision): ClaimResponse['outcome'] {
  switch (answer.outcome) {
    case 'granted': {
      const { token, runId, takenOver, leaseMs } = answer
      return { $case: 'granted', value: { token, runId, takenOver, leaseMs } }
    }
    case 'completed':
      return { $case: 'completed', value: { runId: answer.runId, response: answer.response as Buffer | undefined } }
    case 'in_flight':
      return { $case: 'inFlight', value: { runId: answer.runId, retryAfterMs: answer.retryAfterMs } }
    case 'mismatch':
      return { $case: 'mismatch', value: { runId: answer.runId } }
    case 'absent':
      return { $case: 'absent', value: {} }
  }
}
