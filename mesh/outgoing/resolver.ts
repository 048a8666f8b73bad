/**
 * Addresses of names, for requests that leave the mesh. Names come from tenants, and so do the servers that answer for them: a server may be
 * slow, silent or lie. Nothing here waits in libuv's thread pool, as getaddrinfo does, where four slow names stop every look-up of the
 * process. A look-up asks DNS itself (c-ares), ends when nobody waits for it any more, and holds one of a bounded number of slots that are
 * shared fairly between tenants. What an address may be used for is not decided here.
 *
 * As getaddrinfo does, it looks into /etc/hosts first, completes short names by resolv.conf, and never asks DNS for localhost.
 */
import { readFile } from 'node:fs/promises'
import { Resolver } from 'node:dns/promises'
import { networkInterfaces } from 'node:os'
import { isIP } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { FairSlots, NoSlot, type SlotLimits } from '../fair-slots.ts'
import { withSpan } from '../telemetry/tracing.ts'
import { bareName, candidates, isLocalhost, parseHosts, parseSearch } from './host-files.ts'

/** Whose name it is: slots are shared between tenants, answers are not. The signal ends the wait. */
export interface LookupOptions {
  tenant: string
  signal: AbortSignal
}

/** Every address of a name; rejects with a LookupError where there is none. */
export type Lookup = (hostname: string, options: LookupOptions) => Promise<readonly string[]>

/** As getaddrinfo's: no such name, or none that can be found out now. */
export type LookupCode = 'ENOTFOUND' | 'EAI_AGAIN'
export const lookupOutcomes = ['found', 'ENOTFOUND', 'EAI_AGAIN'] as const
export type OnLookup = (outcome: (typeof lookupOutcomes)[number], seconds: number) => void

export class LookupError extends Error {
  override readonly name = 'LookupError'
  readonly code: LookupCode

  constructor(code: LookupCode, cause?: unknown) {
    super(code, { cause })
    this.code = code
  }
}

export interface ResolverOptions {
  hostsFile?: string
  configFile?: string
  /** DNS servers as address:port; those of the system where it is unset. */
  servers?: readonly string[]
  /** For one look-up with all its questions, in milliseconds. */
  timeoutMs?: number
  slots?: FairSlots
  /** Told of each look-up that asked DNS, and how long that took. */
  onLookup?: OnLookup
  /** How many answers are kept. */
  maxCached?: number
}

export const lookupLimits: SlotLimits = { max: 64, maxPerTenant: 8, maxQueued: 1024, maxQueuedPerTenant: 128, timeoutMs: 5_000 }

/** How long answers are kept at most, in milliseconds: what changes is seen soon, and no name is asked for over and over. */
const keptMs = { found: 10_000, ENOTFOUND: 2_000, EAI_AGAIN: 1_000 }

/** Once addresses of one family have come, those of the other are waited for no longer than this (RFC 8305 suggests 50 ms). */
const otherFamilyMs = 250

/** How long what a file of the system said is believed. */
const fileMs = 5_000
const maxFileBytes = 4 * 1024 * 1024

type LookupResult = { addresses: readonly string[]; ttlMs: number } | { code: LookupCode }

interface PendingLookup {
  answer: Promise<LookupResult>
  /** Ends it once the last of those who wait for it has gone. */
  readonly control: AbortController
  waiters: number
}

export class NameResolver {
  readonly #options: ResolverOptions
  readonly #slots: FairSlots
  readonly #hosts
  readonly #search
  readonly #inFlight = new Map<string, PendingLookup>()
  /** The least recently asked for first. */
  readonly #kept = new Map<string, { answer: LookupResult; until: number }>()

  constructor(options: ResolverOptions = {}) {
    this.#options = options
    this.#slots = options.slots ?? new FairSlots(lookupLimits)
    this.#hosts = systemFile(options.hostsFile ?? '/etc/hosts', parseHosts)
    this.#search = systemFile(options.configFile ?? '/etc/resolv.conf', parseSearch)
  }

  readonly lookup: Lookup = async (hostname, { tenant, signal }) => {
    signal.throwIfAborted()
    if (isIP(hostname) !== 0) return [hostname]
    const bare = bareName(hostname)
    const listed = (await this.#hosts()).get(bare)
    if (listed !== undefined) return listed
    if (isLocalhost(bare)) return ['127.0.0.1', '::1']
    const key = JSON.stringify([tenant, hostname.toLowerCase()])
    const response = this.#recall(key) ?? (await this.#join(key, hostname, tenant, signal))
    if ('code' in response) throw new LookupError(response.code)
    return response.addresses
  }

  /** Waits for a look-up of the same name by the same tenant, or begins one. */
  #join(key: string, hostname: string, tenant: string, signal: AbortSignal): Promise<LookupResult> {
    signal.throwIfAborted()
    let found = this.#inFlight.get(key)
    if (found === undefined || found.control.signal.aborted) {
      const control = new AbortController()
      const begun: PendingLookup = { control, waiters: 0, answer: this.#ask(hostname, tenant, control.signal) }
      found = begun
      this.#inFlight.set(key, begun)
      const done = () => {
        if (this.#inFlight.get(key) === begun) this.#inFlight.delete(key)
      }
      begun.answer.then((response) => {
        // What was given up says nothing of the name.
        if (!control.signal.aborted) this.#keep(key, response)
        done()
      }, done)
    }
    const { answer: response, control } = found
    found.waiters += 1
    return new Promise((resolve, reject) => {
      const leave = () => {
        signal.removeEventListener('abort', stop)
        found.waiters -= 1
        if (found.waiters === 0) control.abort()
      }
      const stop = () => {
        leave()
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', stop, { once: true })
      response.then(resolve, reject).finally(() => {
        if (!signal.aborted) leave()
      })
    })
  }

  async #ask(hostname: string, tenant: string, signal: AbortSignal): Promise<LookupResult> {
    let release
    try {
      release = await this.#slots.acquire(tenant, signal)
    } catch (error) {
      // It says nothing of the name, so that it is not kept.
      throw error instanceof NoSlot ? new LookupError('EAI_AGAIN', error) : error
    }
    const started = performance.now()
    try {
      const response = await this.#askEach(candidates(hostname, await this.#search()), signal)
      this.#options.onLookup?.('code' in response ? response.code : 'found', (performance.now() - started) / 1000)
      return response
    } finally {
      release()
    }
  }

  async #askEach(names: readonly string[], signal: AbortSignal): Promise<LookupResult> {
    const { timeoutMs = 5_000, servers } = this.#options
    // One of its own, so that to cancel it ends nothing else, and so that its source ports are fresh.
    const resolver = new Resolver({ timeout: Math.ceil(timeoutMs / 4), tries: 2, maxTimeout: Math.ceil(timeoutMs / 2) })
    if (servers !== undefined) resolver.setServers(servers)
    const stop = () => resolver.cancel()
    const timer = setTimeout(stop, timeoutMs)
    signal.addEventListener('abort', stop, { once: true })
    try {
      let code: LookupCode = 'ENOTFOUND'
      const deadline = performance.now() + timeoutMs
      for (const name of names) {
        if (signal.aborted || performance.now() >= deadline) return { code: 'EAI_AGAIN' }
        const response = await askBoth(resolver, name)
        if ('addresses' in response) return response
        // That one of several could not be found out leaves all of it open.
        if (response.code === 'EAI_AGAIN') code = 'EAI_AGAIN'
      }
      return { code }
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      resolver.cancel()
    }
  }

  #recall(key: string): LookupResult | undefined {
    const found = this.#kept.get(key)
    if (found === undefined) return undefined
    this.#kept.delete(key)
    if (performance.now() >= found.until) return undefined
    this.#kept.set(key, found)
    return found.answer
  }

  #keep(key: string, response: LookupResult): void {
    const forMs = 'code' in response ? keptMs[response.code] : Math.min(response.ttlMs, keptMs.found)
    this.#kept.delete(key)
    if (forMs > 0) this.#kept.set(key, { answer: response, until: performance.now() + forMs })
    const { maxCached = 2_000 } = this.#options
    if (this.#kept.size > maxCached) this.#kept.delete(this.#kept.keys().next().value!)
  }
}

type Records = { address: string; ttl: number }[]

/** Both families at once. */
async function askBoth(resolver: Resolver, name: string): Promise<LookupResult> {
  const [v4, v6]: [Records, Records] = [[], []]
  const failures: LookupCode[] = []
  const ask = async (asking: Promise<Records>, into: Records) => {
    try {
      into.push(...(await asking))
    } catch (error) {
      failures.push(codeOf(error))
    }
  }
  const both = [ask(resolver.resolve4(name, { ttl: true }), v4), ask(resolver.resolve6(name, { ttl: true }), v6)]
  await Promise.race(both)
  const done = new AbortController()
  const timeout = v4.length + v6.length === 0 ? [] : [pause(otherFamilyMs, undefined, { signal: done.signal }).catch(() => undefined)]
  await Promise.race([Promise.all(both), ...timeout])
  done.abort()
  const records = reachesIpv6() ? [...v6, ...v4] : [...v4, ...v6]
  if (records.length === 0) return { code: failures.includes('EAI_AGAIN') ? 'EAI_AGAIN' : 'ENOTFOUND' }
  return { addresses: records.map(({ address }) => address), ttlMs: Math.min(...records.map(({ ttl }) => ttl)) * 1000 }
}

/** Whether this machine has a public IPv6 address: those come first then, as RFC 6724 has it. */
const reachesIpv6 = (): boolean =>
  Object.values(networkInterfaces()).some((all) => all?.some(({ family, address }) => family === 'IPv6' && /^[23]/.test(address)))

/** https://nodejs.org/api/dns.html#error-codes */
function codeOf(error: unknown): LookupCode {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return ['ENOTFOUND', 'ENODATA', 'EBADNAME', 'EBADQUERY', 'ENONAME'].includes(code) ? 'ENOTFOUND' : 'EAI_AGAIN'
}

/** A file that somebody may change: read anew every few seconds, and without it as if it were empty. */
function systemFile<T>(path: string, parse: (text: string) => T): () => Promise<T> {
  let known: { read: Promise<T>; until: number } | undefined
  const read = async () => {
    const text = await readFile(path, 'utf8').catch(() => '')
    return parse(text.slice(0, maxFileBytes))
  }
  return () => {
    if (known === undefined || performance.now() >= known.until) known = { read: read(), until: performance.now() + fileMs }
    return known.read
  }
}

/** The same, with a span of the work that asks; an address is looked up nowhere. */
export const lookupWithSpan =
  (lookup: Lookup): Lookup =>
  (host, options) =>
    isIP(host) === 0
      ? withSpan({ name: 'dns lookup', kind: 'internal', attributes: { 'server.address': host } }, () => lookup(host, options))
      : lookup(host, options)
