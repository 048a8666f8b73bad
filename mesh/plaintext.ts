/** Which listeners would put credentials on a network in the clear. Pure. */
import { type Config, type ListenAddress, type Spec, formatAddress } from './config.ts'

/** What decides it, of any process. */
interface Transport {
  environment: string
  /** The operator says that the network itself encrypts. */
  networkEncrypted: boolean
  /** Set where services speak mTLS (mesh/grpc/tls.ts). */
  tlsCa?: string | undefined
}

const remedies = {
  tokens: 'set MESH_TLS_CA, MESH_TLS_CERT and MESH_TLS_KEY (docs/mtls.md)',
  keys: 'put a proxy that terminates TLS in front of it on this machine',
}

/** Whether nothing outside this machine reaches it. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || /^(::ffff:)?127(\.\d{1,3}){3}$/i.test(host) || /^(0{0,4}:){2,7}0{0,3}1$/.test(host)

/**
 * A sentence for each listener of the spec that production refuses: one on an address that others reach, where callers' keys or tokens
 * would travel unencrypted. A listener is judged by what its variable says it carries, so that none is forgotten.
 */
export function plaintextProblems<S extends Spec>(spec: S, config: Config<S> & Transport): string[] {
  if (config.environment !== 'production' || config.networkEncrypted) return []
  return Object.entries(spec).flatMap(([key, { name, carries }]) => {
    if (carries === undefined || carries === 'nothing') return []
    if (carries === 'tokens' && config.tlsCa !== undefined) return []
    const address = (config as unknown as Record<string, ListenAddress>)[key]!
    if (isLoopback(address.host)) return []
    const what = carries === 'tokens' ? 'access tokens' : 'API keys'
    return [
      `${name} is ${formatAddress(address)}, where ${what} would travel unencrypted: listen on 127.0.0.1, ${remedies[carries]}, ` +
        'or set NETWORK_ENCRYPTED=true if the network encrypts what processes send each other',
    ]
  })
}
