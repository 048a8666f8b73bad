/**
 * One workspace's share of its rate limit, as this gateway holds it. Pure: its inputs are the time, the requests and the service's
 * decisions; its output is the hits to request. Times are of a monotonic clock, in milliseconds.
 *
 * - At most one call to the service is in flight. Requests that arrive meanwhile wait and share the next call, served in order of arrival.
 * - If demand is high, it requests hits in advance and renews them before they are used up, so that most requests do not wait. The advance
 *   is at most the demand of the last second and at most 1 % of the limit. Below a limit of 100 there is no advance; above it, a gateway
 *   leaves at most 1 % of a window unused.
 * - Granted hits are valid until the window ends. Once the window is exhausted, requests are rejected here until it ends.
 */

/** The service's decision on one call. */
export interface QuotaDecision {
  /** Whether any rule limits the workspace; the other fields mean nothing if none does. */
  limited: boolean
  granted: number
  limit: number
  windowMs: number
  remaining: number
  resetMs: number
}

/** The decision for one request. */
export interface Verdict {
  allowed: boolean
  /** The source of the decision: granted hits, a call to the service, or a local bucket while the service is unavailable. */
  source: 'lease' | 'service' | 'fallback'
  /** False if no rule limits the workspace. */
  limited: boolean
  limit: number
  windowMs: number
  /** The rest of the window, as far as this gateway knows. */
  remaining: number
  /** Time until the quota resets, in milliseconds. */
  resetMs: number
}

export type OnVerdict = (verdict: Verdict) => void

/** A request that waits, and its hits. */
export interface PendingRequest {
  readonly hits: number
  readonly done: OnVerdict
}

/** How long a decision that no rule limits a workspace stays valid, in milliseconds. */
const unlimitedForMs = 5000
/** The contract's maximum hits per call. */
const maxRequested = 100_000
const minuteMs = 60_000

export class QuotaLease {
  #waiting: PendingRequest[] = []
  /** Hits in the call in flight, and how many of them are for waiting requests; 0 if none is in flight. */
  #asked = 0
  #askedFor = 0
  #askedAt = 0
  /** Granted and not yet used; valid until #endsAt. */
  #held = 0
  /** Whether the window has nothing left beyond the granted hits. */
  #spent = false
  #endsAt = -Infinity
  #unlimitedUntil = -Infinity
  #limit: number | undefined
  #windowMs = minuteMs
  #remaining = 0
  readonly #demand = new Demand()

  /** The last known limit. */
  get limit(): number | undefined {
    return this.#limit
  }

  get windowMs(): number {
    return this.#windowMs
  }

  /** Whether a request waits or a call is in flight: such a lease must not be removed. */
  get busy(): boolean {
    return this.#asked > 0 || this.#waiting.length > 0
  }

  /** Handles a request with this many hits. Calls `done` at once if the decision is known here, else with the decision of a call. */
  arrive(now: number, done: OnVerdict, hits = 1): void {
    this.#turn(now)
    this.#demand.count(now, hits)
    // While any request waits, nothing is known here, so no request overtakes another.
    const verdict = this.#waiting.length > 0 ? undefined : this.#known(now, this.#atMost(hits))
    if (verdict === undefined) this.#waiting.push({ hits, done })
    else done(verdict)
  }

  /** The number of hits to request from the service now; 0 for none. After any other number, `answered` or `failed` must follow. */
  question(now: number): number {
    if (this.#asked > 0) return 0
    this.#turn(now)
    const ahead = this.#ahead(now)
    if (this.#waiting.length === 0 && !this.#runsLow(ahead, now)) return 0
    const pending = this.#waiting.reduce((sum, { hits }) => sum + this.#atMost(hits), 0)
    this.#asked = Math.min(maxRequested, pending + Math.max(pending === 0 ? 0 : -this.#held, ahead - this.#held))
    this.#askedFor = Math.min(this.#waiting.length, this.#asked)
    this.#askedAt = now
    return this.#asked
  }

  /** Handles the service's decision. Some requests may still wait: call `ask` again. */
  answered(response: QuotaDecision, now: number): void {
    const [asked, askedFor] = [this.#asked, this.#askedFor]
    this.#asked = 0
    if (!response.limited) {
      this.#limit = undefined
      this.#held = 0
      this.#unlimitedUntil = now + unlimitedForMs
      for (const { done } of this.#waiting.splice(0)) done(this.#verdict(true, 'service', now))
      return
    }
    // The window counts from the time of the call, so it ends here no later than at the service.
    const endsAt = this.#askedAt + response.resetMs
    // A grant of one window is not spent in the next.
    if (now >= this.#endsAt) this.#held = 0
    this.#endsAt = endsAt
    this.#limit = response.limit
    this.#windowMs = response.windowMs
    this.#remaining = response.remaining
    this.#held += response.granted
    this.#spent = response.granted < asked || response.remaining === 0
    const { served, left } = this.#serve()
    // Requests that the call was for are rejected, and so are later ones, unless the window is over by now: no request waits for two calls.
    const inVain = response.granted < asked ? Math.max(0, askedFor - served.length) : 0
    const refused = this.#spent ? left.splice(0, now < endsAt ? left.length : inVain) : []
    this.#waiting = left
    for (const { done } of served) done(this.#verdict(true, 'service', now))
    for (const { done } of refused) done(this.#verdict(false, 'service', now))
  }

  /**
   * Serves waiting requests from the granted hits, in order. If the window is exhausted, it also serves those behind a request that is too
   * large.
   */
  #serve(): { served: PendingRequest[]; left: PendingRequest[] } {
    const served: PendingRequest[] = []
    const left: PendingRequest[] = []
    for (const waiting of this.#waiting) {
      const hits = this.#atMost(waiting.hits)
      if (hits > this.#held || (left.length > 0 && !this.#spent)) left.push(waiting)
      else {
        this.#held -= hits
        served.push(waiting)
      }
    }
    return { served, left }
  }

  /** Handles a failed call: returns all waiting requests. */
  failed(): PendingRequest[] {
    this.#asked = 0
    return this.handOver()
  }

  /** Returns all waiting requests, in order, to be decided otherwise. A later result of the call in flight is kept. */
  handOver(): PendingRequest[] {
    this.#askedFor = 0
    return this.#waiting.splice(0)
  }

  /** A request larger than the whole limit takes all of it; otherwise it would be rejected forever. */
  #atMost(hits: number): number {
    return Math.min(hits, Math.max(1, this.#limit ?? hits))
  }

  #known(now: number, hits: number): Verdict | undefined {
    if (now < this.#unlimitedUntil) return this.#verdict(true, 'lease', now)
    if (this.#held >= hits) {
      this.#held -= hits
      return this.#verdict(true, 'lease', now)
    }
    return this.#spent ? this.#verdict(false, 'lease', now) : undefined
  }

  #verdict(allowed: boolean, source: Verdict['source'], now: number): Verdict {
    return {
      allowed,
      source,
      limited: this.#limit !== undefined,
      limit: this.#limit ?? 0,
      windowMs: this.#windowMs,
      remaining: this.#remaining + this.#held,
      resetMs: Math.max(1, this.#endsAt - now),
    }
  }

  /** Discards what the end of the window has invalidated. */
  #turn(now: number): void {
    if (now < this.#endsAt) return
    this.#held = 0
    this.#spent = false
  }

  /** How many hits to hold in advance; none for a single request. */
  #ahead(now: number): number {
    if (this.#limit === undefined) return 0
    const leftMs = now < this.#endsAt ? this.#endsAt - now : this.#windowMs
    return Math.floor(Math.min((this.#demand.ofLastSecond(now) - 1) * Math.min(1, leftMs / 1000), this.#limit / 100))
  }

  #runsLow(ahead: number, now: number): boolean {
    return ahead > 0 && this.#held <= ahead / 2 && !this.#spent && now < this.#endsAt
  }
}

/** Counts the hits of a sliding second: those of this second, and the part of the previous one that still counts. */
class Demand {
  #second = -Infinity
  #count = 0
  #before = 0

  count(now: number, hits: number): void {
    this.#turn(now)
    this.#count += hits
  }

  ofLastSecond(now: number): number {
    this.#turn(now)
    return this.#count + this.#before * (1 - (now / 1000 - this.#second))
  }

  #turn(now: number): void {
    const second = Math.floor(now / 1000)
    if (second === this.#second) return
    this.#before = second === this.#second + 1 ? this.#count : 0
    this.#count = 0
    this.#second = second
  }
}
