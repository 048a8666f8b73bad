/** What a caller sees of a run. Pure. */
import { parseCanonical } from '../canonical.ts'
import { redactSecrets } from '../redaction/redaction.ts'
import type { Run } from './run.ts'
import type { Settlement } from './settlement.ts'

/** A run as lists read it: without what is large in it, and without what only its holder needs. */
export interface ListedRun extends Pick<
  Run,
  | 'runId'
  | 'previewId'
  | 'workspace'
  | 'actor'
  | 'action'
  | 'provider'
  | 'status'
  | 'errorReason'
  | 'error'
  | 'startedAt'
  | 'endedAt'
  | 'detailsRemoved'
  | 'settlement'
> {
  /** Undefined where they are too large for the list. */
  readonly details: RunDetails | undefined
}

/** What was sent and what came back: as large as it may be, and nobody's business but its actor's. */
export type RunDetails = Pick<Run, 'params' | 'result'>

/** Who looks. */
export interface Viewer {
  readonly actor: string
  may(permission: string): boolean
}

/** Why the details are not shown; '' where they are. */
export type WithheldReason = '' | 'permission' | 'retention' | 'size'

export interface ShownDetails {
  params: Record<string, unknown>
  result: Record<string, unknown> | undefined
  error: string | undefined
  withheld: WithheldReason
}

/** See the details of other actors' runs. */
export const readAll = 'runs:read_all'

/** What a person writes of a run may quote what is in it. */
export function showSettlement({ settlement }: Pick<Run, 'settlement'>, withheld: WithheldReason): Settlement | undefined {
  return settlement && { ...settlement, reason: withheld === 'permission' ? '' : settlement.reason }
}

/** Whether somebody is shown what a run sent and got, where that is still kept. */
export const seesDetails = ({ actor }: Pick<Run, 'actor'>, viewer: Viewer): boolean => actor === viewer.actor || viewer.may(readAll)

/** Undefined details are too large to be shown here. Values under the names of secrets are shown to nobody. */
export function showDetails(
  run: Pick<Run, 'runId' | 'actor' | 'errorReason' | 'error' | 'detailsRemoved'>,
  details: RunDetails | undefined,
  viewer: Viewer,
): ShownDetails {
  if (!seesDetails(run, viewer)) {
    // An error may quote what came back.
    const error = run.errorReason && `${run.errorReason}: only its actor and callers with ${readAll} see what happened.`
    return { params: {}, result: undefined, error, withheld: 'permission' }
  }
  if (run.detailsRemoved) return { params: {}, result: undefined, error: run.error, withheld: 'retention' }
  if (details === undefined) {
    // Whether the error repeats a secret only the parameters tell.
    const error = run.errorReason && `${run.errorReason}: see /actions/runs/${run.runId}.`
    return { params: {}, result: undefined, error, withheld: 'size' }
  }
  return { ...redactSecrets({ params: parseCanonical(details.params), result: details.result, error: run.error }), withheld: '' }
}
