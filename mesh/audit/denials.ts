/**
 * Refused sign-ins and refused permissions, for the audit log: counted, so that a flood of them is one event a minute and not a flood of
 * events. They are no acts and have no transaction: they are kept in memory, and what is lost with a process that is killed is the minute's
 * count (docs/decisions/0008-audit-events.md).
 */
import { setTimeout as pause } from 'node:timers/promises'
import { networkAddressOf, networkOf } from '../address-limiter.ts'
import { Loop } from '../loop.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { TokenBuckets } from '../token-bucket.ts'
import { type Append, deliver, maxConcurrency } from './delivery.ts'
import { type Principal, type AuditEvent, auditEvent } from './event.ts'

/** Empty strings for what is not known. */
export interface Denial extends Principal {
  /** The last one is none, but is counted alike: it is nobody's act, and a client may do it a thousand times a minute. */
  readonly action: 'sign_in.refused' | 'permission.refused' | 'signature.previous_key'
  /** "refused" when unset. */
  readonly outcome?: 'refused' | 'success'
  /** Of a closed table. */
  readonly reason: string
}

/** As those see it who refuse. */
export interface DenialCounter {
  note(refusal: Denial): void
}

export interface DenialsParts {
  /** The service that refuses. */
  service: string
  append: Append
  log: Logger
  metrics: Metrics
  /** In epoch milliseconds. */
  now?: () => number
  /** Groups that are told apart at a time; 10,000 when unset. */
  max?: number
}

interface Group {
  /** The first of them. */
  readonly refusal: Denial
  /** Whether others of its network came too: then the network is named, and no address of it. */
  ofNetwork: boolean
  readonly since: number
  count: number
}

const minuteMs = 60_000
/** What the last events have to get out when the process stops. */
const farewellMs = 2000
/**
 * Refused sign-ins that are told apart by where they come from: so many groups at once, and as many an hour. Whoever asks for them is not
 * known, and each is a row that stays: beyond this all sources are counted together.
 */
const unauthenticatedGroups = { capacity: 200, refillMs: 3_600_000 }
/** Stands for the sources that are too many to tell apart. */
export const others = 'others'

export class Denials implements DenialCounter {
  readonly #parts: DenialsParts
  readonly #loop: Loop
  readonly #now: () => number
  readonly #max: number
  readonly #unauthenticated = new TokenBuckets(1)
  #minute = 0
  /** Of the minute under way. */
  readonly #groups = new Map<string, Group>()
  /** Of minutes that are over: their counts no longer change, since access may have taken them already. */
  #ended: AuditEvent[] = []

  constructor(parts: DenialsParts) {
    this.#parts = parts
    this.#now = parts.now ?? Date.now
    this.#max = parts.max ?? 10_000
    this.#loop = new Loop({ name: 'refusals', intervalMs: 1000, failingMs: 10_000, log: parts.log, work: () => this.flush() })
    parts.metrics.gauge('audit_denials_pending', 'Denied calls counted in memory and not yet sent to the audit log', [], (gauge) =>
      gauge.set(this.#groups.size + this.#ended.length),
    )
  }

  start(): void {
    this.#loop.start()
  }

  /** Tells also of the minute under way. */
  async stop(): Promise<void> {
    await this.#loop.stop()
    this.#close()
    const told = this.#report().then(
      () => true,
      () => false,
    )
    if (await Promise.race([told, pause(farewellMs, false, { ref: false })])) return
    this.#parts.log.warn({ events: this.#ended.length }, 'access is away: the last refusals are not in the audit log')
  }

  note(refusal: Denial): void {
    this.#turn()
    const group = this.#groupOf(refusal)
    group.count = Math.min(group.count + 1, 0xffffffff)
    if (group.refusal.source !== refusal.source && group.refusal.source !== others) group.ofNetwork = true
  }

  /** Tells of the minutes that are over. Throws where access is away; nothing is lost by it. */
  async flush(): Promise<boolean> {
    this.#turn()
    await this.#report()
    return false
  }

  async #report(): Promise<void> {
    while (this.#ended.length > 0) {
      const events = this.#ended.slice(0, maxConcurrency)
      for (const { event, error } of await deliver(events, this.#parts.append)) {
        const { action, reason, count } = event
        const line = { action, reason, count, violations: error.violations }
        this.#parts.log.error(line, 'access will not take this count of refusals; it is dropped')
      }
      this.#ended.splice(0, events.length)
    }
  }

  #turn(): void {
    const minute = Math.floor(this.#now() / minuteMs)
    if (minute === this.#minute) return
    // While too much waits for access, the minute under way goes on: what it tells of when is less exact, and nothing is lost.
    if (this.#ended.length >= this.#max) return
    this.#minute = minute
    this.#close()
  }

  #close(): void {
    for (const { refusal, ofNetwork, since, count } of this.#groups.values()) {
      const { action, outcome = 'refused', reason } = refusal
      const principal = ofNetwork ? { ...refusal, source: networkAddressOf(refusal.source) } : refusal
      this.#ended.push({ ...auditEvent(this.#parts.service, principal, { action, outcome, reason }, new Date(since)), count })
    }
    this.#groups.clear()
  }

  /** By network. Where there are too many sources they are counted together, and where there are too many callers those too. */
  #groupOf(refusal: Denial): Group {
    const room = (max: number, asked: Denial): Group | undefined => {
      const { workspace, actor, keyId, source, action, reason } = asked
      const key = JSON.stringify([workspace, actor, keyId, networkOf(source), action, reason])
      const known = this.#groups.get(key)
      if (known !== undefined || this.#groups.size >= max || !this.#mayBeTold(asked)) return known
      const group = { refusal: asked, ofNetwork: false, since: this.#now(), count: 0 }
      this.#groups.set(key, group)
      return group
    }
    const anywhere = { ...refusal, source: others }
    return (
      room(this.#max, refusal) ??
      room(2 * this.#max, anywhere) ??
      // Only actions and reasons are left, and both are closed sets.
      room(Infinity, { ...anywhere, workspace: '', actor: '', keyId: '' })!
    )
  }

  /** Whether there may be one more group with this source. */
  #mayBeTold({ action, source }: Denial): boolean {
    if (action !== 'sign_in.refused' || source === others) return true
    return this.#unauthenticated.take('', unauthenticatedGroups, this.#now(), 1) === 1
  }
}
