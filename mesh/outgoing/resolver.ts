/**
 * Resolves names for requests that leave the mesh. Names come from tenants, and so do their DNS servers: a server may be slow, silent or
 * lie. Nothing here uses libuv's thread pool, as getaddrinfo does, where four slow names stop every look-up of the process. A look-up
 * queries DNS itself (c-ares), ends when no request waits for it any more, and holds one of a limited number of slots that tenants share
 * fairly. This file does not decide what an address may be used for.
 *
 * Like getaddrinfo, it reads /etc/hosts first, completes short names by resolv.conf, and never asks DNS for localhost.
 */
import { readFile } from 'node:fs/promises'
import { Resolver } from 'node:dns/promises'
import { networkInterfaces } from 'node:os'
import { isIP } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { FairSlots, NoSlot, type SlotLimits } from '../fair-slots.ts'
import { withSpan } from '../telemetry/tracing.ts'
import { bareName, candidates, isLocalhost, parseHosts, parseSearch } from './host-files.ts'

/** The tenant of the name: slots are shared between tenants, results are not. The signal ends the wait. */
export interface LookupOptions {
  tenant: string
  signal: AbortSignal
}

/** Every address of a name; rejects with a LookupError if there is none. */
export type Lookup = (hostname: string, options: LookupOptions) => Promise<readonly string[]>

/** As in getaddrinfo: no such name, or a temporary failure. */
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
  /** DNS servers as address:port; those of the system if unset. */
  servers?: readonly string[]
  /** For one look-up with all its queries, in milliseconds. */
  timeoutMs?: number
  slots?: FairSlots
  /** Called for each look-up that queried DNS, with its duration. */
  onLookup?: OnLookup
  /** Maximum results that are kept. */
  maxCached?: number
}

export const lookupLimits: SlotLimits = { max: 64, maxPerTenant: 8, maxQueued: 1024, maxQueuedPerTenant: 128, timeoutMs: 5_000 }

/** Maximum time that results are kept, in milliseconds: changes are seen soon, and no name is queried over and over. */
const keptMs = { found: 10_000, ENOTFOUND: 2_000, EAI_AGAIN: 1_000 }

/** After addresses of one family arrive, maximum wait for those of the other (RFC 8305 suggests 50 ms). */
const otherFamilyMs = 250

/** How long the content of a system file is cached. */
const fileMs = 5_000
const maxFileBytes = 4 * 1024 * 1024

type LookupResult = { addresses: readonly string[]; ttlMs: number } | { code: LookupCode }

interface PendingLookup {
  answer: Promise<LookupResult>
  /** Aborts the look-up once its last waiter is gone. */
  readonly control: AbortController
  waiters: number
}

export class NameResolver {
  readonly #options: ResolverOptions
  readonly #slots: FairSlots
  readonly #hosts
  readonly #search
  readonly #inFlight = new Map<string, PendingLookup>()
  /** The least recently used first. */
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

  /** Waits for a look-up of the same name by the same tenant, or starts one. */
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
        // An aborted look-up says nothing about the name.
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
      // It says nothing about the name, so it is not kept.
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
    // Its own resolver, so that cancelling it ends nothing else, and its source ports are fresh.
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
        // If one of several lookups fails temporarily, the result is open.
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

/** Whether this machine has a public IPv6 address: those come first then, as in RFC 6724. */
const reachesIpv6 = (): boolean =>
  Object.values(networkInterfaces()).some((all) => all?.some(({ family, address }) => family === 'IPv6' && /^[23]/.test(address)))

/** https://nodejs.org/api/dns.html#error-codes */
function codeOf(error: unknown): LookupCode {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return ['ENOTFOUND', 'ENODATA', 'EBADNAME', 'EBADQUERY', 'ENONAME'].includes(code) ? 'ENOTFOUND' : 'EAI_AGAIN'
}

/** A file that may change: read again every few seconds, and treated as empty if missing. */
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

/** The same, with a span of the requesting work; an address is not looked up. */
export const lookupWithSpan =
  (lookup: Lookup): Lookup =>
  (host, options) =>
    isIP(host) === 0
      ? withSpan({ name: 'dns lookup', kind: 'internal', attributes: { 'server.address': host } }, () => lookup(host, options))
      : lookup(host, options)
