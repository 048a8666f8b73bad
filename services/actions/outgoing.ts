/**
 * Connections to the outside, only to addresses that address-guard.ts lets through.
 *
 * A name is resolved here, once a connection; every address must pass (one bad among good ones is how DNS rebinding looks), and the socket
 * is given exactly those addresses, so that nothing resolves the name a second time. A connection is opened before anything is sent on
 * it: what fails up to then is known to have had no effect.
 */
import { lookup as dnsLookup } from 'node:dns/promises'
import net from 'node:net'
import tls from 'node:tls'
import { canonicalAddress, judgeAddress, parseTarget, publicOnly } from './address-guard.ts'
import type { Target, TargetPolicy } from './address-guard.ts'
import { errors } from './errors.ts'

/** Every address of a name; rejects with a node:dns error where there is none. */
export type Lookup = (hostname: string) => Promise<readonly string[]>

export interface Connection {
  target: Target
  /** Connected, and for https past its handshake with a verified certificate. */
  socket: net.Socket
}

export interface Outgoing {
  /**
   * Whether a request may go there, for a preview: opens no connection. A name that does not resolve is a warning, for it may by then.
   * Throws TARGET_REFUSED.
   */
  check(url: string, signal: AbortSignal): Promise<{ target: Target; warnings: string[] }>
  /** Connects, or throws a ConnectError: then nothing was sent. The signal ends the attempt, not the connection. */
  connect(url: string, signal: AbortSignal): Promise<Connection>
}

/** Why there is no connection; the message is public and holds no address. */
export class ConnectError extends Error {
  override readonly name = 'ConnectError'
  /** `refused` by our own rules, `failed` on the way there, or `stopped` by the signal. */
  readonly kind: 'refused' | 'failed' | 'stopped'

  constructor(kind: ConnectError['kind'], message: string, cause?: unknown) {
    super(message, { cause })
    this.kind = kind
  }
}

const systemLookup: Lookup = async (hostname) => (await dnsLookup(hostname, { all: true })).map(({ address }) => address)

/** A preview waits this long for a name, in milliseconds. */
const previewLookupMs = 2_000

export function outgoing({ policy, lookup = systemLookup }: { policy: TargetPolicy; lookup?: Lookup }): Outgoing {
  return {
    async check(url, signal) {
      const target = parseTarget(url, policy)
      if (typeof target === 'string') throw refusedTarget(target)
      try {
        const addresses = await checkedAddresses(target.host, AbortSignal.any([signal, AbortSignal.timeout(previewLookupMs)]))
        const configured = addresses.some((address) => judgeAddress(address, publicOnly) !== undefined)
        return { target, warnings: configured ? ['The target is not public: it is allowed by the configuration here.'] : [] }
      } catch (error) {
        if (!(error instanceof ConnectError)) throw error
        if (error.kind === 'refused') throw refusedTarget(error.message)
        return { target, warnings: [`The name ${target.host} does not resolve now. It will be resolved again when the request is sent.`] }
      }
    },

    async connect(url, signal) {
      const target = parseTarget(url, policy)
      if (typeof target === 'string') throw new ConnectError('refused', target)
      const addresses = await checkedAddresses(target.host, signal)
      const socket = await open(target, addresses, signal)
      // The last word is the socket's own: nothing between the check and here may have led elsewhere.
      if (!addresses.includes(canonicalAddress(socket.remoteAddress ?? '::'))) {
        socket.destroy()
        throw new ConnectError('refused', 'leads to an address that was not checked.')
      }
      return { target, socket }
    },
  }

  async function checkedAddresses(host: string, signal: AbortSignal): Promise<readonly string[]> {
    const addresses = net.isIP(host) === 0 ? await resolve(host, signal) : [host]
    // A name's addresses may be nobody else's business: the refusal does not say which they are.
    if (addresses.some((address) => judgeAddress(address, policy) !== undefined)) {
      throw new ConnectError('refused', 'leads to an address that is not public.')
    }
    return addresses.map(canonicalAddress)
  }

  async function resolve(host: string, signal: AbortSignal): Promise<readonly string[]> {
    const addresses = await unlessStopped(signal, lookup(host)).catch((error: unknown) => {
      throw error instanceof ConnectError ? error : new ConnectError('failed', sentence(error), error)
    })
    if (addresses.length === 0) throw new ConnectError('failed', sentences['ENOTFOUND']!)
    return addresses
  }
}

const refusedTarget = (description: string) => errors.TARGET_REFUSED({ violations: [{ field: 'params.url', description }] })

const stopped = () => new ConnectError('stopped', 'no connection in time')

/** Settles with the promise, or rejects once the signal is aborted: for work that cannot be stopped itself. */
function unlessStopped<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(stopped())
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

/** A connected socket to one of the addresses; for https with the certificate of the host's name. */
function open({ url, host, port }: Target, addresses: readonly string[], signal: AbortSignal): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(stopped())
    const secure = url.protocol === 'https:'
    // An address as host skips the look-up; it is then the one address that was checked.
    const options = { host, port, lookup: onlyThese(addresses), noDelay: true }
    // RFC 6066: the name in SNI is never an address and has no trailing dot.
    const servername = net.isIP(host) === 0 ? host.replace(/\.$/, '') : ''
    const socket = secure ? tls.connect({ ...options, servername, ALPNProtocols: ['http/1.1'] }) : net.connect(options)

    const stop = () => {
      socket.destroy()
      reject(stopped())
    }
    signal.addEventListener('abort', stop, { once: true })
    const fail = (error: Error) => {
      signal.removeEventListener('abort', stop)
      reject(new ConnectError('failed', sentence(error), error))
    }
    socket.once('error', fail)
    // Stays on the socket: an error between here and its next owner must not end the process.
    socket.on('error', () => undefined)
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      signal.removeEventListener('abort', stop)
      socket.removeListener('error', fail)
      resolve(socket)
    })
  })
}

const onlyThese =
  (addresses: readonly string[]): net.LookupFunction =>
  (_hostname, options, answer) => {
    const all = addresses.map((address) => ({ address, family: net.isIP(address) }))
    if (options.all) answer(null, all)
    else answer(null, all[0]!.address, all[0]!.family)
  }

const sentences: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no such host',
  ENODATA: 'there is no such host',
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

/** A driver's error in our words: its own text holds addresses. */
function sentence(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return sentences[code] ?? (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS') ? sentences['EPROTO']! : 'the connection failed')
}
