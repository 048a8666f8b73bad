/** Claims in the memory of one process, for tests and experiments. Nothing survives a restart. */
import type { Decision, ClaimRequest, Claim, ClaimKey, Completion, FencedResult, Clock, Renewal, Step } from './claim.ts'
import { abandon, claim, complete, release, renew } from './claim.ts'
import type { ClaimStore, ExpiredRecords, ExpiredClaims } from './store.ts'

export class MemoryClaimStore implements ClaimStore {
  readonly #claims = new Map<string, Claim>()
  readonly #retentionMs: number
  readonly #clock: () => number

  constructor(parts: { retentionMs: number; clock?: () => number }) {
    this.#retentionMs = parts.retentionMs
    this.#clock = parts.clock ?? Date.now
  }

  /** The number of keys with a claim, including claims past their retention. */
  get size(): number {
    return this.#claims.size
  }

  async claim(key: ClaimKey, asked: ClaimRequest): Promise<Decision> {
    return this.#take(key, (found, at) => claim(found, asked, at))
  }

  async renew(key: ClaimKey, renewal: Renewal): Promise<FencedResult> {
    return this.#take(key, (found, at) => renew(found, renewal, at))
  }

  async complete(key: ClaimKey, completion: Completion): Promise<FencedResult> {
    return this.#take(key, (found, at) => complete(found, completion, at))
  }

  async release(key: ClaimKey, token: string): Promise<FencedResult> {
    return this.#take(key, (found, at) => release(found, token, at))
  }

  async abandon(key: ClaimKey, runId: string): Promise<void> {
    this.#take(key, (found) => abandon(found, runId))
  }

  async expired({
    kinds,
    expiredForMs,
    limit,
  }: {
    kinds: readonly string[]
    expiredForMs: number
    limit: number
  }): Promise<ExpiredRecords[]> {
    const before = this.#clock() - expiredForMs
    const found = [...this.#claims].flatMap(([name, each]) => {
      const [workspace, kind, key] = JSON.parse(name) as [string, string, string]
      if (each.state !== 'in_flight' || each.leaseUntil > before || !kinds.includes(kind)) return []
      return [{ key: { workspace, kind, key }, runId: each.runId, leaseUntil: each.leaseUntil }]
    })
    return found
      .toSorted((one, other) => one.leaseUntil - other.leaseUntil)
      .slice(0, limit)
      .map(({ key, runId }) => ({ key, runId }))
  }

  async reap(max: number): Promise<number> {
    const before = this.#clock() - this.#retentionMs
    const old = [...this.#claims].filter(([, each]) => each.state === 'completed' && each.completedAt <= before).slice(0, max)
    for (const [name] of old) this.#claims.delete(name)
    return old.length
  }

  async expiredClaims(): Promise<ExpiredClaims> {
    const now = this.#clock()
    const leases = [...this.#claims.values()].flatMap((each) => (each.state === 'in_flight' ? [each.leaseUntil] : []))
    const over = leases.filter((end) => end <= now)
    return { count: over.length, oldestMs: now - Math.min(now, ...over) }
  }

  #take<A>(key: ClaimKey, step: (found: Claim | undefined, at: Clock) => Step<A>): A {
    const name = JSON.stringify([key.workspace, key.kind, key.key])
    const { answer: response, next } = step(this.#claims.get(name), { now: this.#clock(), retentionMs: this.#retentionMs })
    if (next === undefined) this.#claims.delete(name)
    else this.#claims.set(name, next)
    return response
  }
}
