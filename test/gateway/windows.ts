/** What leases of rate limits are held against in tests. */
import type { QuotaDecision } from '../../gateway/rate-limit/quota-lease.ts'

export const minute = 60_000

/** A limit of fixed windows, as the service keeps it: the truth that leases are held against. */
export class Window {
  readonly limit: number
  granted = new Map<number, number>()
  constructor(limit: number) {
    this.limit = limit
  }
  take(hits: number, now: number): QuotaDecision {
    const window = Math.floor(now / minute)
    const used = this.granted.get(window) ?? 0
    const granted = Math.min(hits, this.limit - used)
    this.granted.set(window, used + granted)
    const remaining = this.limit - used - granted
    return { limited: true, granted, limit: this.limit, windowMs: minute, remaining, resetMs: minute - (now % minute) }
  }
}

export const response = (granted: number, more: Partial<QuotaDecision> = {}): QuotaDecision => ({
  limited: true,
  granted,
  limit: 600,
  windowMs: minute,
  remaining: 500,
  resetMs: 30_000,
  ...more,
})
