/** What a caller sees of a run. Pure. */
import { parseCanonical } from '../canonical.ts'
import { redactSecrets } from '../redaction/redaction.ts'
import type { Run } from './run.ts'
import type { Settlement } from './settlement.ts'

/** A run in a list: without large values, and without what only its owner needs. */
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
  /** Undefined if they are too large for the list. */
  readonly details: RunDetails | undefined
}

/** What was sent and returned: of any size, and visible only to its actor by default. */
export type RunDetails = Pick<Run, 'params' | 'result'>

/** The viewer. */
export interface Viewer {
  readonly actor: string
  may(permission: string): boolean
}

/** Why the details are not shown; '' if they are. */
export type WithheldReason = '' | 'permission' | 'retention' | 'size'

export interface ShownDetails {
  params: Record<string, unknown>
  result: Record<string, unknown> | undefined
  error: string | undefined
  withheld: WithheldReason
}

/** May see the details of other actors' runs. */
export const readAll = 'runs:read_all'

/** A person's text about a run may quote its contents. */
export function showSettlement({ settlement }: Pick<Run, 'settlement'>, withheld: WithheldReason): Settlement | undefined {
  return settlement && { ...settlement, reason: withheld === 'permission' ? '' : settlement.reason }
}

/** Whether the viewer sees what a run sent and got, if it is still kept. */
export const seesDetails = ({ actor }: Pick<Run, 'actor'>, viewer: Viewer): boolean => actor === viewer.actor || viewer.may(readAll)

/** Undefined details are too large to be shown here. Values under secret names are never shown. */
export function showDetails(
  run: Pick<Run, 'runId' | 'actor' | 'errorReason' | 'error' | 'detailsRemoved'>,
  details: RunDetails | undefined,
  viewer: Viewer,
): ShownDetails {
  if (!seesDetails(run, viewer)) {
    // An error may quote the response.
    const error = run.errorReason && `${run.errorReason}: only its actor and callers with ${readAll} see what happened.`
    return { params: {}, result: undefined, error, withheld: 'permission' }
  }
  if (run.detailsRemoved) return { params: {}, result: undefined, error: run.error, withheld: 'retention' }
  if (details === undefined) {
    // Only the parameters tell whether the error repeats a secret.
    const error = run.errorReason && `${run.errorReason}: see /actions/runs/${run.runId}.`
    return { params: {}, result: undefined, error, withheld: 'size' }
  }
  return { ...redactSecrets({ params: parseCanonical(details.params), result: details.result, error: run.error }), withheld: '' }
}
