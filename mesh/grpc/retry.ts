/** Which failed calls may be made again, and when. Pure but for chance. */
import { Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { fullJitterMs } from '../backoff.ts'
import { MeshError, meshErrors } from '../errors.ts'
import { key } from '../telemetry/names.ts'
import { fromServiceError } from './status.ts'

/** How a call failed. */
export interface Failure {
  readonly error: MeshError
  /** No handler has seen the call: whatever it asks for, it may be made again. */
  readonly unprocessed: boolean
  /** There was no connection: nothing was sent, so the call may be made again as soon as there is one. */
  readonly unconnected: boolean
}

/** How often a call is made at most that no handler has seen: another replica may take it, or the same one on a new connection. */
export const maxUnprocessed = 6

/**
 * What grpc-js says of a stream that the server refused, which is a promise that nothing was done (RFC 9113, 8.7). It comes of a
 * connection that the server is closing: the client has not read of that yet. grpc-js itself repeats such a call once, often on the same
 * connection.
 */
const refusedStream = 'Stream refused by server'

/** What grpc-js says of a call that it did not begin, because none of the replicas was connected. */
const noConnection = /^(?:round_robin: )?No connection established/

/** What grpc-js says of a stream that ended without a status; it calls that INTERNAL. */
const cutStream = 'Received RST_STREAM with code'

/** `cancelled` is whether we did so. */
export function failureOf(thrown: unknown, cancelled: boolean): Failure {
  const processed = { unprocessed: false, unconnected: false }
  if (thrown instanceof MeshError) return { error: thrown, ...processed }
  // What says no status never left: grpc-js would not begin the call.
  if (!isServiceError(thrown)) return { error: meshErrors.INTERNAL({ cause: thrown }), ...processed }
  const error = fromServiceError(thrown)
  // What the mesh itself fails with says why; the rest comes of the connection.
  const ofConnection = error.cause === thrown
  // A call that was cancelled, but not by us, was cut by a service that ended: it says so with a reset of the stream alone.
  const cutByService = thrown.code === status.CANCELLED && !cancelled
  // Neither does a stream say why it was cut with its connection.
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

/** Milliseconds until the attempt after the `attempt`-th (from 1); undefined where there is none. `attempts` is for what is safe to repeat. */
export function waitBefore({ error, unprocessed }: Failure, attempt: number, attempts: number): number | undefined {
  const max = unprocessed ? Math.max(attempts, maxUnprocessed) : attempts
  if (error.code !== 'UNAVAILABLE' || attempt >= max) return undefined
  return fullJitterMs(25 * 2 ** attempt)
}
