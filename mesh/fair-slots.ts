/**
 * A semaphore that is fair between tenants: a maximum number of slots in total and per tenant. Tenants take turns; within a tenant, the
 * first to come is served first. However many requests one tenant queues, another waits for at most one of them per turn. The queue is
 * limited per tenant and in total, and a wait ends after `timeoutMs`.
 */

export interface SlotLimits {
  /** Maximum slots held at once, in total. */
  max: number
  maxPerTenant: number
  maxQueued: number
  maxQueuedPerTenant: number
  /** Maximum wait for a slot, in milliseconds. */
  timeoutMs: number
}

/** Why there was no slot: the queue was full, no slot became free in time, or the signal aborted. */
export type SlotRefusal = 'full' | 'timeout' | 'stopped'

export class NoSlot extends Error {
  override readonly name = 'NoSlot'
  readonly why: SlotRefusal

  constructor(why: SlotRefusal) {
    super(`no slot: ${why}`)
    this.why = why
  }
}

/** Releases the slot. Further calls do nothing. */
export type Release = () => void

/** Called for every request for a slot: whether it got one, and how long that took. */
export type OnTurn = (outcome: 'held' | SlotRefusal, waitedSeconds: number) => void

interface Waiter {
  grant(): void
}

interface Tenant {
  held: number
  /** In order of arrival. */
  readonly queue: Set<Waiter>
}

export class FairSlots {
  readonly #limits: SlotLimits
  readonly #tenants = new Map<string, Tenant>()
  /** Tenants with a waiting request that may hold another slot, in turn. */
  readonly #turns = new Set<string>()
  readonly #onTurn: OnTurn
  #held = 0
  #queued = 0

  constructor(limits: SlotLimits, onTurn: OnTurn = () => undefined) {
    this.#limits = limits
    this.#onTurn = onTurn
  }

  get held(): number {
    return this.#held
  }

  get queued(): number {
    return this.#queued
  }

  /** Resolves when it holds a slot. Throws NoSlot. */
  async acquire(name: string, signal?: AbortSignal): Promise<Release> {
    const asked = performance.now()
    const told = (outcome: Parameters<OnTurn>[0]) => this.#onTurn(outcome, (performance.now() - asked) / 1000)
    try {
      const release = await this.#acquire(name, signal)
      told('held')
      return release
    } catch (error) {
      if (error instanceof NoSlot) told(error.why)
      throw error
    }
  }

  #acquire(name: string, signal?: AbortSignal): Promise<Release> {
    const { max, maxPerTenant, maxQueued, maxQueuedPerTenant, timeoutMs } = this.#limits
    if (signal?.aborted) return Promise.reject(new NoSlot('stopped'))
    const tenant = this.#tenants.get(name) ?? { held: 0, queue: new Set<Waiter>() }
    this.#tenants.set(name, tenant)
    if (this.#held < max && tenant.held < maxPerTenant) return Promise.resolve(this.#take(name, tenant))
    if (this.#queued >= maxQueued || tenant.queue.size >= maxQueuedPerTenant) {
      this.#forget(name, tenant)
      return Promise.reject(new NoSlot('full'))
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', stop)
        tenant.queue.delete(waiter)
        this.#queued -= 1
      }
      const give = (why: SlotRefusal) => {
        leave()
        if (tenant.queue.size === 0) this.#turns.delete(name)
        this.#forget(name, tenant)
        reject(new NoSlot(why))
      }
      const stop = () => give('stopped')
      const waiter = {
        grant: () => {
          leave()
          resolve(this.#take(name, tenant))
        },
      }
      const timer = setTimeout(() => give('timeout'), timeoutMs)
      signal?.addEventListener('abort', stop, { once: true })
      tenant.queue.add(waiter)
      this.#queued += 1
      if (tenant.held < maxPerTenant) this.#turns.add(name)
    })
  }

  #take(name: string, tenant: Tenant): Release {
    tenant.held += 1
    this.#held += 1
    let given = false
    return () => {
      if (given) return
      given = true
      tenant.held -= 1
      this.#held -= 1
      if (tenant.queue.size > 0) this.#turns.add(name)
      this.#next()
      this.#forget(name, tenant)
    }
  }

  #next(): void {
    const { max, maxPerTenant } = this.#limits
    for (const name of this.#turns) {
      if (this.#held >= max) return
      const tenant = this.#tenants.get(name)!
      const [first] = tenant.queue
      // It moves behind all others, and returns only while it waits and may hold more.
      this.#turns.delete(name)
      first?.grant()
      if (tenant.queue.size > 0 && tenant.held < maxPerTenant) this.#turns.add(name)
    }
  }

  #forget(name: string, { held, queue }: Tenant): void {
    if (held === 0 && queue.size === 0) this.#tenants.delete(name)
  }
}
