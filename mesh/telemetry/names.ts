/** The names of log fields and metadata keys, so that every process says the same thing with the same word. */

/** Fields of a log line. */
export const field = {
  service: 'service',
  /** Which process of the service wrote it. */
  instance: 'service_instance_id',
  requestId: 'request_id',
  traceId: 'trace_id',
  spanId: 'span_id',
  workspace: 'workspace_id',
  actor: 'actor',
  runId: 'run_id',
  method: 'method',
  code: 'code',
  reason: 'reason',
  durationMs: 'duration_ms',
  keyId: 'key_id',
  source: 'source',
} as const

/** gRPC metadata keys. */
export const key = {
  requestId: 'x-request-id',
  traceparent: 'traceparent',
  authorization: 'authorization',
  /** The calling service's proof of its name; believed where there is no mTLS. */
  peer: 'x-relay-peer',
  /** The address that an outside request came from; believed from peers alone. */
  source: 'x-relay-source',
  /** The run that a call is about: for the log lines and spans of who did not begin it. Believed from peers alone; sent back by an execute. */
  run: 'x-relay-run',
  /** Sent back where there is more: the page_token of the next page. */
  nextPage: 'x-relay-next-page',
  /** Sent back with a refusal before any handler saw the call: it may be made again, whatever it asks for. */
  unprocessed: 'x-relay-unprocessed',
  statusDetails: 'grpc-status-details-bin',
  /** Sent back by a call that was answered from an earlier one. */
  replayed: 'idempotency-replayed',
} as const
