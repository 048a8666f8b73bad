/** Which failed calls may be repeated, and when. Pure except for randomness. */
import { Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { fullJitterMs } from '../backoff.ts'
import { MeshError, meshErrors } from '../errors.ts'
import { key } from '../telemetry/names.ts'
import { fromServiceError } from './status.ts'

/** How a call failed. */
export interface Failure {
  readonly error: MeshError
  /** No handler has seen the call, so it may be repeated whatever it does. */
  readonly unprocessed: boolean
  /** There was no connection: nothing was sent, so the call may be repeated as soon as there is one. */
  readonly unconnected: boolean
}

/** Maximum attempts of a call that no handler has seen: another replica may take it, or the same one on a new connection. */
export const maxUnprocessed = 6

/**
 * grpc-js's text for a stream that the server refused, which promises that nothing was done (RFC 9113, 8.7). The server is closing the
 * connection, and the client does not know that yet. grpc-js itself repeats such a call once, often on the same connection.
 */
const refusedStream = 'Stream refused by server'

/** grpc-js's text for a call that it did not start because no replica was connected. */
const noConnection = /^(?:round_robin: )?No connection established/

/** grpc-js's text for a stream that ended without a status, which it reports as INTERNAL. */
const cutStream = 'Received RST_STREAM with code'

/** `cancelled`: whether we cancelled it. */
export function failureOf(thrown: unknown, cancelled: boolean): Failure {
  const processed = { unprocessed: false, unconnected: false }
  if (thrown instanceof MeshError) return { error: thrown, ...processed }
  // A call without a status never left: grpc-js did not start it.
  if (!isServiceError(thrown)) return { error: meshErrors.INTERNAL({ cause: thrown }), ...processed }
  const error = fromServiceError(thrown)
  // Failures of the mesh itself have a reason; the others come from the connection.
  const ofConnection = error.cause === thrown
  // A call that was cancelled, but not by us, was cut by a service that ended: it reports that only with a reset of the stream.
  const cutByService = thrown.code === status.CANCELLED && !cancelled
  // A stream that was cut with its connection does not say why either.
  const cutWithConnection = thrown.code === status.INTERNAL && thrown.details.startsWith(cutStream)
  if (ofConnection && (cutByService || cutWithConnection)) {
    return { error: meshErrors.DEPENDENCY_UNAVAILABLE({ cause: thrown }), ...processed }
  }
  const refused = thrown.code === status.UNAVAILABLE && thrown.details === refusedStream
  return {
    error,
    unprocessed: refused || thrown.metadata.get(key.unprocessed).length > 0,
    unconnected: ofConnection && thrown.code === status.UNAVAILABLE && noConnection.test(thrown.details),
  }
}

const isServiceError = (thrown: unknown): thrown is ServiceError =>
  thrown instanceof Error &&
  'code' in thrown &&
  typeof thrown.code === 'number' &&
  'metadata' in thrown &&
  thrown.metadata instanceof Metadata

/**
 * Milliseconds until the attempt after the `attempt`-th (from 1); undefined if there is none. `attempts` applies to calls that are safe to
 * repeat.
 */
export function waitBefore({ error, unprocessed }: Failure, attempt: number, attempts: number): number | undefined {
  const max = unprocessed ? Math.max(attempts, maxUnprocessed) : attempts
  if (error.code !== 'UNAVAILABLE' || attempt >= max) return undefined
  return fullJitterMs(25 * 2 ** attempt)
}
