/**
 * Settles runs by hand: a person who looked at the other side says what happened to a run whose outcome is unknown. Once; a different
 * verdict later does not change it.
 */
import { type Principal, type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { errors } from '../errors.ts'
import type { ActionMetrics } from '../metrics.ts'
import type { Run, RunStatus } from './run.ts'

export const verdicts = ['happened', 'did_not_happen'] as const
export type Verdict = (typeof verdicts)[number]

export interface Settlement {
  readonly verdict: Verdict
  /** How that is known, in the words of the person who settled it. */
  readonly reason: string
  /** An actor of the run's workspace. */
  readonly settledBy: string
  readonly settledAt: Date
}

/** The new state of the run. */
export interface SettlementRow extends Omit<Settlement, 'settledAt'> {
  runId: string
  workspace: string
  status: RunStatus
  errorReason: string | undefined
  error: string | undefined
  event: AuditEvent
}

export interface SettlementStore {
  /**
   * Settles a run of that workspace that ended as unknown and was not settled, together with the audit event; undefined if there is none.
   * The first to commit wins; nothing that an owner of the run knows changes it any more.
   */
  settle(settle: SettlementRow): Promise<Run | undefined>
  find(runId: string): Promise<Run | undefined>
}

export interface SettleRequest {
  runId: string
  verdict: Verdict
  reason: string
  principal: Principal
}

const notDone = { errorReason: 'SETTLED', error: 'SETTLED: the outcome was unknown; a person found that it did not happen' }
const becomes = {
  happened: { status: 'success', errorReason: undefined, error: undefined },
  did_not_happen: { status: 'failed', ...notDone },
} as const satisfies Record<Verdict, Pick<SettlementRow, 'status' | 'errorReason' | 'error'>>

/** The event has the verdict and not the reason: free text is not kept in the audit log. */
function settleOf({ runId, verdict, reason, principal }: SettleRequest): SettlementRow {
  const { workspace, actor } = principal
  const event = auditEvent('actions', principal, {
    action: 'actions.settle',
    outcome: 'success',
    reason: verdict.toUpperCase(),
    targets: [`run:${runId}`],
  })
  return { runId, workspace, verdict, reason, settledBy: actor, event, ...becomes[verdict] }
}

export class Settlements {
  readonly #store: SettlementStore
  readonly #metrics: ActionMetrics

  constructor(parts: { store: SettlementStore; metrics: ActionMetrics }) {
    this.#store = parts.store
    this.#metrics = parts.metrics
  }

  /** Settling a run again with the same verdict gives the same response, so that a lost response can be requested again. */
  async settle(ask: SettleRequest): Promise<Run> {
    const { runId, verdict, principal } = ask
    const settled = await this.#store.settle(settleOf(ask))
    if (settled !== undefined) {
      this.#metrics.settled(settled, verdict)
      return settled
    }
    const run = await this.#store.find(runId)
    // Another workspace's run does not exist for this caller.
    if (run === undefined || run.workspace !== principal.workspace) throw errors.RUN_NOT_FOUND()
    const { settlement, status } = run
    if (settlement === undefined) throw errors.RUN_NOT_UNKNOWN({ metadata: { run_id: runId, status } })
    if (settlement.verdict === verdict && settlement.settledBy === principal.actor) return run
    throw errors.RUN_ALREADY_SETTLED({ metadata: { run_id: runId, verdict: settlement.verdict, settled_by: settlement.settledBy } })
  }
}
