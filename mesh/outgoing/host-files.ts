/** What this machine says about names before any DNS server is asked: hosts(5) and resolv.conf(5). Pure. */
import { isIP } from 'node:net'

/** Addresses by name, in lower case. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const line of text.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/)
    // An address with a zone leads nowhere without its interface.
    if (isIP(address) === 0 || address.includes('%')) continue
    for (const name of names.map(bareName)) {
      const known = found.get(name) ?? []
      if (!known.includes(address)) found.set(name, [...known, address])
    }
  }
  return found
}

export interface Search {
  /** Domains that a name may be completed with. */
  readonly domains: readonly string[]
  /** A name with fewer dots is completed before it is looked up as it is. */
  readonly ndots: number
}

/** glibc's limit before 2.26: each domain is another two queries. */
const maxDomains = 6

export function parseSearch(text: string): Search {
  let [domains, ndots]: [string[], number] = [[], 1]
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/)
    // The last of these lines counts.
    if (keyword === 'search' || keyword === 'domain')
      domains = words
        .slice(0, maxDomains)
        .map(bareName)
        .filter((name) => name !== '')
    if (keyword !== 'options') continue
    const said = words.map((word) => /^ndots:(\d{1,2})$/.exec(word)?.[1]).findLast((digits) => digits !== undefined)
    if (said !== undefined) ndots = Math.min(Number(said), 15)
  }
  return { domains, ndots }
}

/** The names to look up, in order; a name with a final dot is complete already. */
export function candidates(name: string, { domains, ndots }: Search): string[] {
  const bare = bareName(name)
  if (name.endsWith('.')) return [bare]
  const completed = domains.map((domain) => `${bare}.${domain}`)
  return bare.split('.').length - 1 >= ndots ? [bare, ...completed] : [...completed, bare]
}

export const bareName = (name: string): string => name.replace(/\.$/, '').toLowerCase()

/** RFC 6761, 6.3: these never leave the machine. */
export const isLocalhost = (bare: string): boolean => bare === 'localhost' || bare.endsWith('.localhost')
