/**
 * Where the steps of connecting wait for the browser: seen by every replica, across restarts, and taken once. A store that cannot be
 * reached throws DEPENDENCY_UNAVAILABLE; whether a step was taken is then not known, and it counts as taken.
 */
import type { StateToken } from './state-token.ts'

export type StepKind = 'ticket' | 'state'

export interface StepKey extends StateToken {
  readonly kind: StepKind
}

export interface PutStep extends StepKey {
  /** Whose it is, within the workspace. */
  readonly actor: string
  readonly content: string
  /** In milliseconds; 0 for one that has ended already. */
  readonly lifetimeMs: number
}

/** Steps that one actor may have; a further one takes the place of the oldest. */
export const maxSteps = 50

export interface ConnectStore {
  /** Keeps it for its life. What stands under a key is never replaced: throws where there is something. */
  put(step: PutStep): Promise<void>
  /** Looks at it and leaves it there. Undefined: it was taken, has expired, or never was. */
  find(key: StepKey): Promise<string | undefined>
  /** Takes it away, in one step: of many who ask at once one gets it. Undefined as above. */
  take(key: StepKey): Promise<string | undefined>
  /** Forgets up to so many that have ended, where they do not go by themselves; how many. */
  expire(limit: number): Promise<number>
}
