/**
 * Failed authentications and denied permissions, for the audit log: counted, so that a flood of them is one event per minute and not a
 * flood of events. They are not acts and have no transaction. They are kept in memory, and a killed process loses the count of its last
 * minute (docs/decisions/0008-audit-events.md).
 */
import { setTimeout as pause } from 'node:timers/promises'
import { networkAddressOf, networkOf } from '../address-limiter.ts'
import { Loop } from '../loop.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { TokenBuckets } from '../token-bucket.ts'
import { type Append, deliver, maxConcurrency } from './delivery.ts'
import { type Principal, type AuditEvent, auditEvent } from './event.ts'

/** Unknown values are empty strings. */
export interface Denial extends Principal {
  /**
   * The last one is not a denial, but is counted in the same way: it is not an act of a caller, and a client may cause it a thousand times per
   * minute.
   */
  readonly action: 'sign_in.refused' | 'permission.refused' | 'signature.previous_key'
  /** "refused" if unset. */
  readonly outcome?: 'refused' | 'success'
  /** From a closed table. */
  readonly reason: string
}

/** A denial as the denying code sees it. */
export interface DenialCounter {
  note(refusal: Denial): void
}

export interface DenialsParts {
  /** The denying service. */
  service: string
  append: Append
  log: Logger
  metrics: Metrics
  /** In epoch milliseconds. */
  now?: () => number
  /** Maximum groups at a time; 10,000 if unset. */
  max?: number
}

interface Group {
  /** The time of the first. */
  readonly refusal: Denial
  /** Whether other addresses of its network came too: the event then names the network and no address. */
  ofNetwork: boolean
  readonly since: number
  count: number
}

const minuteMs = 60_000
/** Maximum time to send the last events when the process stops. */
const farewellMs = 2000
/**
 * Failed authentications are grouped by source: at most this many groups at once, and as many per hour. Their callers are unknown, and each
 * group is a permanent row: beyond the limit, all sources are counted together.
 */
const unauthenticatedGroups = { capacity: 200, refillMs: 3_600_000 }
/** Stands for the sources beyond the limit. */
export const others = 'others'

export class Denials implements DenialCounter {
  readonly #parts: DenialsParts
  readonly #loop: Loop
  readonly #now: () => number
  readonly #max: number
  readonly #unauthenticated = new TokenBuckets(1)
  #minute = 0
  /** Of the current minute. */
  readonly #groups = new Map<string, Group>()
  /** Of past minutes: their counts no longer change, because access may already have them. */
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

  /** Sends the current minute as well. */
  async stop(): Promise<void> {
    await this.#loop.stop()
    this.#close()
    const told = this.#report().then(
      () => true,
      () => false,
    )
    if (await Promise.race([told, pause(farewellMs, false, { ref: false })])) return
    this.#parts.log.warn({ events: this.#ended.length }, 'access is unavailable: the last denials are not in the audit log')
  }

  note(refusal: Denial): void {
    this.#turn()
    const group = this.#groupOf(refusal)
    group.count = Math.min(group.count + 1, 0xffffffff)
    if (group.refusal.source !== refusal.source && group.refusal.source !== others) group.ofNetwork = true
  }

  /** Sends the past minutes. Throws if access is unavailable; nothing is lost then. */
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
        this.#parts.log.error(line, 'access rejects this count of denials; it is dropped')
      }
      this.#ended.splice(0, events.length)
    }
  }

  #turn(): void {
    const minute = Math.floor(this.#now() / minuteMs)
    if (minute === this.#minute) return
    // While too many events wait for access, the current minute is extended: its time is less exact, and nothing is lost.
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

  /** By network. Too many sources are counted together, and so are too many callers. */
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

  /** Whether another group with this source is allowed. */
  #mayBeTold({ action, source }: Denial): boolean {
    if (action !== 'sign_in.refused' || source === others) return true
    return this.#unauthenticated.take('', unauthenticatedGroups, this.#now(), 1) === 1
  }
}
