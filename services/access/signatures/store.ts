/**
 * Stores which signature keys are valid. Every change commits together with its audit event. Throws DEPENDENCY_UNAVAILABLE if the store is
 * unreachable; the outcome of a change is then unknown.
 */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { Purpose } from '#mesh/signature-keys.ts'
import type { KeyState } from '#mesh/signature-states.ts'

export interface StateRecord extends KeyState {
  readonly workspace: string
  readonly purpose: Purpose
}

export interface SignatureStore {
  read(workspace: string, purpose: Purpose): Promise<KeyState>
  /** The same, after the event is stored. */
  readAudited(workspace: string, purpose: Purpose, event: (state: KeyState) => AuditEvent): Promise<KeyState>
  /** Decides on the current state under a lock. Undefined, or an error, changes nothing and writes no event. Returns the new state. */
  change(
    workspace: string,
    purpose: Purpose,
    decide: (state: KeyState) => KeyState | undefined,
    event: (state: KeyState) => AuditEvent,
  ): Promise<KeyState>
  /**
   * Changes after `sequence`, in order, the sequence to continue from, and whether there is more. None with a lower number appears later. A
   * sequence that the store has not reached (it was restored to an earlier state) counts as 0.
   */
  changedAfter(sequence: number): Promise<{ states: StateRecord[]; sequence: number; more: boolean }>
}
