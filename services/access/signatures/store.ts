/**
 * Where it is kept which signature keys count. Every change commits together with its audit event. A store that cannot be reached throws
 * DEPENDENCY_UNAVAILABLE, and the outcome of a change is then not known.
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
  /** The same, once the event is written down. */
  readAudited(workspace: string, purpose: Purpose, event: (state: KeyState) => AuditEvent): Promise<KeyState>
  /** Decides on what is there while nobody else can. Undefined, or a throw, changes nothing and writes no event. The state afterwards. */
  change(
    workspace: string,
    purpose: Purpose,
    decide: (state: KeyState) => KeyState | undefined,
    event: (state: KeyState) => AuditEvent,
  ): Promise<KeyState>
  /**
   * What changed later than `sequence`, in order, the sequence to go on from, and whether there is more. None with a lower number appears
   * later. A sequence that was never reached (the store was put back to an earlier state) counts as 0.
   */
  changedAfter(sequence: number): Promise<{ states: StateRecord[]; sequence: number; more: boolean }>
}
