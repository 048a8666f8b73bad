/** A run in its row's form. */
import type { KeyKind, Run, RunStatus } from './run.ts'
import type { Settlement, Verdict } from './settlement.ts'

export interface RunRow {
  run_id: string
  preview_id: string
  attempt_id: string
  workspace: string
  actor: string
  action: string
  provider: string
  params: Buffer
  connection_id: string | null
  key_kind: KeyKind
  key: string
  status: RunStatus
  epoch: number
  recovery: string | null
  recorded_ago: number | null
  result: string | null
  error_reason: string | null
  error: string | null
  key_id: string
  source: string
  request_id: string
  trace_id: string
  span_id: string
  started_at: Date
  ended_at: Date | null
  details_removed_at: Date | null
  settled_verdict: Verdict | null
  settled_reason: string | null
  settled_by: string | null
  settled_at: Date | null
}

export const settlementColumns = 'settled_verdict, settled_reason, settled_by, settled_at'
export const runColumns = `run_id, preview_id, attempt_id, workspace, actor, action, provider, params, connection_id, key_kind, key, status, epoch, recovery,
  extract(epoch FROM clock_timestamp() - recorded_at)::float8 * 1000 AS recorded_ago, result, error_reason, error, key_id, source, request_id, trace_id, span_id, started_at, ended_at, details_removed_at,
  ${settlementColumns}`

/** The text after the reason of an error whose details were deleted. */
export const detailsExpired = ': what happened is no longer kept.'

export const fromJson = (text: string | null) => (text === null ? undefined : (JSON.parse(text) as Record<string, unknown>))

type SettlementRow = Pick<RunRow, 'settled_verdict' | 'settled_reason' | 'settled_by' | 'settled_at'>

export const toSettlement = (row: SettlementRow): Settlement | undefined =>
  row.settled_at === null
    ? undefined
    : { verdict: row.settled_verdict!, reason: row.settled_reason!, settledBy: row.settled_by!, settledAt: row.settled_at }

export const toRun = (row: RunRow): Run => ({
  runId: row.run_id,
  previewId: row.preview_id,
  attemptId: row.attempt_id,
  workspace: row.workspace,
  actor: row.actor,
  action: row.action,
  provider: row.provider,
  params: row.params,
  connectionId: row.connection_id ?? undefined,
  keyKind: row.key_kind,
  key: row.key,
  status: row.status,
  epoch: row.epoch,
  recovery: fromJson(row.recovery),
  recordedAgoMs: row.recorded_ago ?? undefined,
  result: fromJson(row.result),
  errorReason: row.error_reason ?? undefined,
  error: row.error ?? undefined,
  keyId: row.key_id,
  source: row.source,
  requestId: row.request_id,
  traceId: row.trace_id,
  spanId: row.span_id,
  startedAt: row.started_at,
  endedAt: row.ended_at ?? undefined,
  detailsRemoved: row.details_removed_at !== null,
  settlement: toSettlement(row),
})
