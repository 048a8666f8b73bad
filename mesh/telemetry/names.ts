/** The names of log fields and metadata keys, so that every process says the same thing with the same word. */

/** Fields of a log line. */
export const field = {
  service: 'service',
  requestId: 'request_id',
  traceId: 'trace_id',
  workspace: 'workspace_id',
  actor: 'actor',
  runId: 'run_id',
  method: 'method',
  code: 'code',
  reason: 'reason',
  durationMs: 'duration_ms',
} as const

/** gRPC metadata keys. */
export const key = {
  requestId: 'x-request-id',
  traceparent: 'traceparent',
  authorization: 'authorization',
  peer: 'x-relay-peer',
  statusDetails: 'grpc-status-details-bin',
  /** Sent back by a call that was answered from an earlier one. */
  replayed: 'idempotency-replayed',
} as const
