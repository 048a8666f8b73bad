/**
 * One workspace's share of its rate limit, as this gateway holds it. Pure: it is told the time, what arrives and what the service answers;
 * it says what to ask. Times are of a clock that never goes back, in milliseconds.
 *
 * - At most one question is under way; what arrives meanwhile waits and goes into the next one together, served in order of arrival.
 * - Where demand is high it asks for some ahead, and renews them before they run out, so that most requests wait for nobody. Ahead is at
 *   most what the last second asked for and 1 % of the limit: below a limit of 100 nothing is asked for that nobody waits for, and above it
 *   a gateway leaves at most 1 % of a window unused.
 * - What is held is good until the window ends. Once the window has no more to give, requests are refused here until it ends.
 */

/** What the service answered to one question. */
export interface QuotaDecision {
  /** Whether any rule limits the workspace; the rest says nothing when none does. */
  limited: boolean
  granted: number
  limit: number
  windowMs: number
  remaining: number
  resetMs: number
}

/** What is told to one request. */
export interface Verdict {
  allowed: boolean
  /** What was held, an answer that was waited for, or a bucket of this process while the service is away. */
  source: 'lease' | 'service' | 'fallback'
  /** False where no rule limits the workspace. */
  limited: boolean
  limit: number
  windowMs: number
  /** What is left of the window, as far as is known here. */
  remaining: number
  /** Until there is more, in milliseconds. */
  resetMs: number
}

export type Done = (verdict: Verdict) => void

/** A request that waits, and how many hits it takes. */
export interface Waiting {
  readonly hits: number
  readonly done: Done
}

/** How long it is believed that no rule limits a workspace, in milliseconds. */
const unlimitedForMs = 5000
/** The contract takes no more hits at once. */
const maxRequested = 100_000
const minuteMs = 60_000

export class Lease {
  #waiting: Waiting[] = []
  /** Hits in the question that is under way, and for how many of those who wait it was asked; 0 when none is. */
  #asked = 0
  #askedFor = 0
  #askedAt = 0
  /** Granted and not yet handed out; good until #endsAt. */
  #held = 0
  /** Whether the window has no more to give than is held. */
  #spent = false
  #endsAt = -Infinity
  #unlimitedUntil = -Infinity
  #limit: number | undefined
  #windowMs = minuteMs
  #remaining = 0
  readonly #demand = new Demand()

  /** The limit as it was last told. */
  get limit(): number | undefined {
    return this.#limit
  }

  get windowMs(): number {
    return this.#windowMs
  }

  /** Whether something waits or is under way: then it must not be forgotten. */
  get busy(): boolean {
    return this.#asked > 0 || this.#waiting.length > 0
  }

  /** A request arrives that takes so many hits; `done` is called at once where the answer is known here, else with the answer to a question. */
  arrive(now: number, done: Done, hits = 1): void {
    this.#turn(now)
    this.#demand.count(now, hits)
    // While anybody waits nothing is known here, so nobody overtakes.
    const verdict = this.#waiting.length > 0 ? undefined : this.#known(now, this.#atMost(hits))
    if (verdict === undefined) this.#waiting.push({ hits, done })
    else done(verdict)
  }

  /** How many hits to ask the service for now; 0 for none. After any other number `answered` or `failed` must follow. */
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

  /** The service's answer to the question. Some may still wait: ask again. */
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
    // Counted from when it was asked: the window ends no later than that here.
    const endsAt = this.#askedAt + response.resetMs
    // What was granted in one window is not spent in the next.
    if (now >= this.#endsAt) this.#held = 0
    this.#endsAt = endsAt
    this.#limit = response.limit
    this.#windowMs = response.windowMs
    this.#remaining = response.remaining
    this.#held += response.granted
    this.#spent = response.granted < asked || response.remaining === 0
    const { served, left } = this.#serve()
    // Who was asked for in vain is refused, and so is who came since, unless the window is over by now: nobody waits for two answers.
    const inVain = response.granted < asked ? Math.max(0, askedFor - served.length) : 0
    const refused = this.#spent ? left.splice(0, now < endsAt ? left.length : inVain) : []
    this.#waiting = left
    for (const { done } of served) done(this.#verdict(true, 'service', now))
    for (const { done } of refused) done(this.#verdict(false, 'service', now))
  }

  /** Takes what is held for those who wait, in order; where the window has no more to give, also for those behind one that takes too much. */
  #serve(): { served: Waiting[]; left: Waiting[] } {
    const served: Waiting[] = []
    const left: Waiting[] = []
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

  /** The question got no answer: hands over all who wait. */
  failed(): Waiting[] {
    this.#asked = 0
    return this.handOver()
  }

  /** Hands over all who wait, in order, to be decided otherwise. What a question still under way brings is held. */
  handOver(): Waiting[] {
    this.#askedFor = 0
    return this.#waiting.splice(0)
  }

  /** A request that takes more than the whole limit takes all of it: it is not to be refused for ever. */
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

  /** Lets go of what the end of the window has made void. */
  #turn(now: number): void {
    if (now < this.#endsAt) return
    this.#held = 0
    this.#spent = false
  }

  /** How many to hold beyond those who wait; none for a request that comes alone. */
  #ahead(now: number): number {
    if (this.#limit === undefined) return 0
    const leftMs = now < this.#endsAt ? this.#endsAt - now : this.#windowMs
    return Math.floor(Math.min((this.#demand.ofLastSecond(now) - 1) * Math.min(1, leftMs / 1000), this.#limit / 100))
  }

  #runsLow(ahead: number, now: number): boolean {
    return ahead > 0 && this.#held <= ahead / 2 && !this.#spent && now < this.#endsAt
  }
}

/** Counts the hits that arrive over a sliding second: this second's, and of the one before the part that is still within reach. */
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
