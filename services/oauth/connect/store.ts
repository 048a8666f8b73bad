/**
 * The steps of connecting, until the browser takes them: visible to every replica, across restarts, and taken once. An unreachable store
 * throws DEPENDENCY_UNAVAILABLE; whether a step was taken is then unknown, and it counts as taken.
 */
import type { StateToken } from './state-token.ts'

export type StepKind = 'ticket' | 'state'

export interface StepKey extends StateToken {
  readonly kind: StepKind
}

export interface PutStep extends StepKey {
  /** Its owner, within the workspace. */
  readonly actor: string
  readonly content: string
  /** In milliseconds; 0 for an expired one. */
  readonly lifetimeMs: number
}

/** Maximum steps of one actor; another one replaces the oldest. */
export const maxSteps = 50

export interface ConnectStore {
  /** Stores it for its lifetime. An existing key is never replaced: throws if there is one. */
  put(step: PutStep): Promise<void>
  /** Reads it without taking it. Undefined: it was taken, has expired, or never existed. */
  find(key: StepKey): Promise<string | undefined>
  /** Takes it atomically: of concurrent calls one gets it. Undefined as above. */
  take(key: StepKey): Promise<string | undefined>
  /** Deletes up to `limit` expired steps, if they do not expire by themselves. Returns how many. */
  expire(limit: number): Promise<number>
}
