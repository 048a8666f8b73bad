/**
 * Where the steps of connecting wait for the browser: seen by every replica, across restarts, and taken once. A store that cannot be
 * reached throws DEPENDENCY_UNAVAILABLE; whether a step was taken is then not known, and it counts as taken.
 */
import type { Reference } from './reference.ts'

export type StepKind = 'ticket' | 'state'

export interface StepKey extends Reference {
  readonly kind: StepKind
}

export interface ConnectStore {
  /** Keeps it for so many milliseconds. What stands under a key is never replaced: throws where there is something. */
  put(key: StepKey, content: string, lifeMs: number): Promise<void>
  /** Takes it away, in one step: of many who ask at once one gets it. Undefined: it was taken, has expired, or never was. */
  take(key: StepKey): Promise<string | undefined>
}
