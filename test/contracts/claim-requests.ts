/** What the tests of claims ask with. */
import { createHash, randomUUID } from 'node:crypto'
import type { Decision, ClaimRequest, ClaimKey, Completion } from '../../services/idempotency/claim.ts'
import type { ClaimStore } from '../../services/idempotency/store.ts'

export interface Engine {
  readonly store: ClaimStore
  /** Lets that many milliseconds pass on the store's clock. */
  advance(ms: number): Promise<void>
  /** How many keys hold anything, though it may no longer answer. */
  size(): Promise<number>
  close(): Promise<void>
}

export const hourMs = 3_600_000
export const retentionMs = 24 * hourMs
export const leaseMs = 30_000

export const fingerprintOf = (work: string): Uint8Array => createHash('sha256').update(work).digest()

export const freshKey = (key: string = randomUUID()): ClaimKey => ({ workspace: 'w', kind: 'client', key })

/** A request for some work by an attempt of its own. */
export const request = (over: Partial<ClaimRequest> = {}): ClaimRequest => ({
  fingerprint: fingerprintOf('the work'),
  attemptId: randomUUID(),
  runId: randomUUID(),
  leaseMs,
  token: randomUUID(),
  ...over,
})

export const look = (): ClaimRequest => request({ fingerprint: undefined })

export type GrantedClaim = Extract<Decision, { outcome: 'granted' }>

export function granted(answer: Decision): GrantedClaim {
  if (answer.outcome !== 'granted') throw new Error(`not granted: ${answer.outcome}`)
  return answer
}

export const completion = (grant: GrantedClaim, response?: Uint8Array): Completion => ({ runId: grant.runId, token: grant.token, response })
export const byRun = (runId: string): Completion => ({ runId, token: undefined, response: undefined })

export const outcomes = (responses: readonly Decision[]): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const { outcome } of responses) counts[outcome] = (counts[outcome] ?? 0) + 1
  return counts
}

export const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index))
