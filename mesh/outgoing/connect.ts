/** A connection to chosen addresses, and the reason if there is none, in our words. */
import net from 'node:net'
import tls from 'node:tls'
import { Steps } from '../telemetry/steps.ts'
import { errorType } from '../telemetry/tracing.ts'

/** Why there is no connection; the message is public and contains no address. */
export class ConnectError extends Error {
  override readonly name = 'ConnectError'
  /** `refused` by our own rules, `failed` on the way, or `stopped` by the signal. */
  readonly kind: 'refused' | 'failed' | 'stopped'

  constructor(kind: ConnectError['kind'], message: string, cause?: unknown) {
    super(message, { cause })
    this.kind = kind
  }
}

export const connectStopped = () => new ConnectError('stopped', 'no connection in time')

/** What went wrong with a look-up or a connection. */
export const connectFailed = (error: unknown) => new ConnectError('failed', sentence(error), error)

export interface Endpoint {
  secure: boolean
  /** A name, or an address without brackets. */
  host: string
  port: number
}

export const endpointOf = ({ protocol, hostname, port }: URL): Endpoint => {
  const secure = protocol === 'https:'
  return { secure, host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? (secure ? 443 : 80) : Number(port) }
}

/** Maximum addresses of a name that are tried. */
const maxTried = 8

/** A connected socket to one of the addresses; for https with a verified certificate of the host's name. Throws ConnectError. */
export function connect({ secure, host, port }: Endpoint, addresses: readonly string[], signal: AbortSignal): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(connectStopped())
    // An address as host skips the look-up, and is the one that was chosen.
    const options = { host, port, lookup: onlyThese(addresses.slice(0, maxTried)), noDelay: true }
    // RFC 6066: the name in SNI is never an address and has no trailing dot.
    const servername = net.isIP(host) === 0 ? host.replace(/\.$/, '') : ''
    const steps = new Steps({ 'server.address': host, 'server.port': port })
    steps.next('connect')
    const socket = secure ? tls.connect({ ...options, servername, ALPNProtocols: ['http/1.1'] }) : net.connect(options)
    if (secure) socket.once('connect', () => steps.next('tls handshake'))

    const stop = () => {
      socket.destroy()
      steps.end('stopped')
      reject(connectStopped())
    }
    signal.addEventListener('abort', stop, { once: true })
    const fail = (error: Error) => {
      signal.removeEventListener('abort', stop)
      steps.end(errorType(error))
      reject(connectFailed(error))
    }
    socket.once('error', fail)
    // Stays on the socket: an error before its next owner handles it must not end the process.
    socket.on('error', () => undefined)
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      signal.removeEventListener('abort', stop)
      socket.removeListener('error', fail)
      steps.end()
      resolve(socket)
    })
  })
}

const onlyThese =
  (addresses: readonly string[]): net.LookupFunction =>
  (_hostname, options, response) => {
    const all = addresses.map((address) => ({ address, family: net.isIP(address) }))
    if (options.all) response(null, all)
    else response(null, all[0]!.address, all[0]!.family)
  }

const sentences: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the host name cannot be resolved now',
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the other side closed the connection at once',
  EPIPE: 'the other side closed the connection at once',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the host cannot be reached',
  ETIMEDOUT: 'no connection in time',
  ERR_TLS_CERT_ALTNAME_INVALID: 'TLS: the certificate is for another host',
  CERT_HAS_EXPIRED: 'TLS: the certificate has expired',
  CERT_NOT_YET_VALID: 'TLS: the certificate is not valid yet',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'TLS: the certificate is not trusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'TLS: the certificate is not trusted',
  UNABLE_TO_GET_ISSUER_CERT: 'TLS: the certificate is not trusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'TLS: the certificate is not trusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'TLS: the certificate is not trusted',
  EPROTO: 'TLS: the handshake failed',
}

/** A driver's error in our words: its own text contains addresses. */
function sentence(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return sentences[code] ?? (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS') ? sentences['EPROTO']! : 'the connection failed')
}
