/** Decides for descriptors, independent of the protocol: Relay's own Check, or another one with descriptors. */
import type { Limits } from './limits.ts'
import type { Counter, RateLimitStore, Source } from './store.ts'
import { type Entry, counterKey } from './window.ts'

/** Undefined if no rule limits the descriptor. */
export type Decision = { granted: number; limit: number; remaining: number; windowMs: number; resetMs: number } | undefined

export interface LimitDecision {
  /** The granted hits: the minimum over the descriptors. */
  granted: number
  /** One per descriptor, in the order of the request. */
  decisions: readonly Decision[]
  /** Undefined if nothing had to be counted. */
  source: Source | undefined
}

export class RateLimiter {
  readonly #limits: Limits
  readonly #store: RateLimitStore

  constructor(parts: { limits: Limits; store: RateLimitStore }) {
    this.#limits = parts.limits
    this.#store = parts.store
  }

  /** Takes up to `hits` from the limit of each descriptor, the same number from each. Equal descriptors count once. */
  async decide(domain: string, descriptors: readonly (readonly Entry[])[], hits: number): Promise<LimitDecision> {
    const counters = new Map<string, Counter>()
    const keys = descriptors.map((entries) => {
      const rule = this.#limits.ruleOf(domain, entries)
      if (rule === undefined) return undefined
      const key = counterKey(domain, entries)
      counters.set(key, { key, ...rule })
      return key
    })
    if (counters.size === 0) return { granted: hits, decisions: keys.map(() => undefined), source: undefined }
    const asked = [...counters.values()]
    const { granted, capacities, source } = await this.#store.take(asked, hits)
    const decided = new Map(asked.map(({ key, limit, windowMs }, index) => [key, { ...capacities[index]!, limit, windowMs }]))
    return { granted, decisions: keys.map((key) => (key === undefined ? undefined : decided.get(key))), source }
  }
}
