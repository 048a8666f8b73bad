/** Which listeners and stores would send credentials over a network unencrypted. Pure. */
import { type Config, type ListenAddress, Secret, type Spec, formatAddress } from './config.ts'
import { isLoopback } from './loopback.ts'

/** What decides it, for any process. */
interface Transport {
  environment: string
  /** The operator states that the network itself encrypts. */
  networkEncrypted: boolean
  /** Set if services use mTLS (mesh/tls/credentials.ts). */
  tlsCa?: string | undefined
}

const remedies = {
  tokens: 'set MESH_TLS_CA, MESH_TLS_CERT and MESH_TLS_KEY (docs/mtls.md)',
  keys: 'put a proxy that terminates TLS in front of it on this machine',
}

/**
 * A sentence for each listener of the spec that production rejects: one on an address that others can reach, where callers' keys or tokens
 * would travel unencrypted; and for each unencrypted Postgres or Redis on another machine. A listener is judged by what its variable says
 * it carries, a store by its URL, so that none is forgotten.
 */
export function plaintextProblems<S extends Spec>(spec: S, config: Config<S> & Transport): string[] {
  if (config.environment !== 'production' || config.networkEncrypted) return []
  return Object.entries(spec).flatMap(([key, { name, carries }]) => {
    const value = (config as unknown as Record<string, unknown>)[key]
    const store = plainStore(value)
    if (store !== undefined) {
      return [
        `${name} leads to ${store.host} unencrypted, where tokens and what is sent would travel: ${store.remedy}, ` +
          'or set NETWORK_ENCRYPTED=true if the network encrypts what processes send each other',
      ]
    }
    if (carries === undefined || carries === 'nothing') return []
    if (carries === 'tokens' && config.tlsCa !== undefined) return []
    const address = value as ListenAddress
    if (isLoopback(address.host)) return []
    const what = carries === 'tokens' ? 'access tokens' : 'API keys'
    return [
      `${name} is ${formatAddress(address)}, where ${what} would travel unencrypted: listen on 127.0.0.1, ${remedies[carries]}, ` +
        'or set NETWORK_ENCRYPTED=true if the network encrypts what processes send each other',
    ]
  })
}

/** The modes in which Postgres's driver encrypts and verifies the certificate. */
const encryptedModes: ReadonlySet<string> = new Set(['require', 'verify-ca', 'verify-full'])

/** The store behind a variable, if others could read its traffic. */
function plainStore(value: unknown): { host: string; remedy: string } | undefined {
  const url = value instanceof Secret ? URL.parse(value.reveal()) : value instanceof URL ? value : null
  if (url === null) return undefined
  const host = (url.searchParams.get('host') ?? decodeURIComponent(url.hostname)).replace(/^\[|\]$/g, '')
  // A folder is that of a local socket, as is an omitted host.
  if (host === '' || host.startsWith('/') || isLoopback(host)) return undefined
  if (url.protocol === 'redis:') return { host, remedy: 'begin it with rediss://' }
  if (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:') return undefined
  return encryptedModes.has(url.searchParams.get('sslmode') ?? '') ? undefined : { host, remedy: 'add sslmode=verify-full to it' }
}
