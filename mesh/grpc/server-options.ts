/** The limits of grpc-js itself in a server of the mesh. */
import type { ServerOptions } from '@grpc/grpc-js'

/** For the last responses, after their deadline. */
export const graceMs = 1000

/** Limits on what one connection and one message may demand of the process. */
const limits = {
  'grpc.max_receive_message_length': 1024 * 1024,
  'grpc.max_send_message_length': 4 * 1024 * 1024,
  'grpc.max_concurrent_streams': 1000,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc-node.max_session_memory': 64,
}

/**
 * A connection that has reached its age accepts no more calls, so that its client reconnects, perhaps to a replica that it did not know.
 * Calls in progress continue for the maximum time of any call.
 */
function connectionAge(maxCallMs: number, maxConnectionAgeMs: number | undefined): Record<string, number> {
  if (maxConnectionAgeMs === undefined) return {}
  return { 'grpc.max_connection_age_ms': maxConnectionAgeMs, 'grpc.max_connection_age_grace_ms': maxCallMs + graceMs }
}

/** For a server whose longest call may take `maxCallMs`. */
export const serverOptions = (maxCallMs: number, maxConnectionAgeMs: number | undefined): ServerOptions => ({
  ...limits,
  ...connectionAge(maxCallMs, maxConnectionAgeMs),
})
