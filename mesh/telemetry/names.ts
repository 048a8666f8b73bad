/** The names of log fields and metadata keys, so that every process uses the same word for the same thing. */

/** Fields of a log line. */
export const field = {
  service: 'service',
  /** The process of the service that wrote it. */
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
  /** The calling service's proof of its name; used without mTLS. */
  peer: 'x-relay-peer',
  /** The address of an outside request; trusted from peers only. */
  source: 'x-relay-source',
  /**
   * The run that a call is about, for log lines and spans of processes that did not begin it. Trusted from peers only; returned by an
   * execute.
   */
  run: 'x-relay-run',
  /** Returned if there is more: the page_token of the next page. */
  nextPage: 'x-relay-next-page',
  /** Returned with a rejection before any handler saw the call: it may be repeated, whatever it does. */
  unprocessed: 'x-relay-unprocessed',
  statusDetails: 'grpc-status-details-bin',
  /** Returned by a call that was answered from an earlier one. */
  replayed: 'idempotency-replayed',
} as const
