/**
 * Connections to targets that tenants choose, only to addresses that egress-policy.ts allows.
 *
 * A name is resolved here, once per connection. Every address must pass (one bad address among good ones is how DNS rebinding looks), and
 * the socket gets exactly those addresses, so that nothing resolves the name again. A connection is opened before anything is sent on it:
 * errors up to then certainly had no effect.
 */
import net from 'node:net'
import { ConnectError, connect as connectTo, connectFailed, connectStopped } from '#mesh/outgoing/connect.ts'
import { type Lookup, LookupError, NameResolver, lookupWithSpan } from '#mesh/outgoing/resolver.ts'
import { canonicalAddress, checkAddress, parseTarget, publicOnly } from './egress-policy.ts'
import type { Target, TargetPolicy } from './egress-policy.ts'
import { errors } from '../errors.ts'

export interface Connection {
  target: Target
  /** Connected; for https with a completed handshake and a verified certificate. */
  socket: net.Socket
}

export interface Egress {
  /**
   * Whether a request of this workspace may go there, for a preview: opens no connection. A name that does not resolve is a warning,
   * because it may resolve later. Throws TARGET_REFUSED.
   */
  check(url: string, workspace: string, signal: AbortSignal): Promise<{ target: Target; warnings: string[] }>
  /** Connects, or throws a ConnectError: then nothing was sent. The signal ends the attempt, not the connection. */
  connect(url: string, workspace: string, signal: AbortSignal): Promise<Connection>
}

/** Maximum wait of a preview for a name, in milliseconds. */
const previewLookupMs = 2_000

export function outgoing({ policy, lookup = new NameResolver().lookup }: { policy: TargetPolicy; lookup?: Lookup | undefined }): Egress {
  return {
    async check(url, workspace, signal) {
      const target = parseTarget(url, policy)
      if (typeof target === 'string') throw refusedTarget(target)
      try {
        const addresses = await checkedAddresses(target.host, workspace, AbortSignal.any([signal, AbortSignal.timeout(previewLookupMs)]))
        const configured = addresses.some((address) => checkAddress(address, publicOnly) !== undefined)
        return { target, warnings: configured ? ['The target is not public: it is allowed by the configuration here.'] : [] }
      } catch (error) {
        if (!(error instanceof ConnectError)) throw error
        if (error.kind === 'refused') throw refusedTarget(error.message)
        return { target, warnings: [`The name ${target.host} does not resolve now. It will be resolved again when the request is sent.`] }
      }
    },

    async connect(url, workspace, signal) {
      const target = parseTarget(url, policy)
      if (typeof target === 'string') throw new ConnectError('refused', target)
      const addresses = await checkedAddresses(target.host, workspace, signal)
      const { host, port } = target
      const socket = await connectTo({ secure: target.url.protocol === 'https:', host, port }, addresses, signal)
      // The socket's own address decides: nothing between the check and here may have led elsewhere.
      if (!addresses.includes(canonicalAddress(socket.remoteAddress ?? '::'))) {
        socket.destroy()
        throw new ConnectError('refused', 'leads to an address that was not checked.')
      }
      return { target, socket }
    },
  }

  async function checkedAddresses(host: string, workspace: string, signal: AbortSignal): Promise<readonly string[]> {
    const addresses = net.isIP(host) === 0 ? await resolve(host, workspace, signal) : [host]
    // The addresses of a name may be confidential: the rejection does not contain them.
    if (addresses.some((address) => checkAddress(address, policy) !== undefined)) {
      throw new ConnectError('refused', 'leads to an address that is not public.')
    }
    return addresses.map(canonicalAddress)
  }

  async function resolve(host: string, workspace: string, signal: AbortSignal): Promise<readonly string[]> {
    const addresses = await unlessStopped(signal, lookupWithSpan(lookup)(host, { tenant: workspace, signal })).catch((error: unknown) => {
      throw signal.aborted ? connectStopped() : connectFailed(error)
    })
    if (addresses.length === 0) throw connectFailed(new LookupError('ENOTFOUND'))
    return addresses
  }
}

const refusedTarget = (description: string) => errors.TARGET_REFUSED({ violations: [{ field: 'params.url', description }] })

/** Settles with the promise, or rejects once the signal aborts, even if the look-up ignores it. */
function unlessStopped<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(connectStopped())
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
