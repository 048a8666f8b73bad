/**
 * Limits on connections: how many one address has, and how long a client may read nothing of a response. Unsent bytes stay in memory, and
 * Node's own timers do not end the wait: they restart with each byte that the client sends.
 */
import type { Server, Socket } from 'node:net'
import { networkOf } from '#mesh/address-limiter.ts'
import { mayComeFrom } from '#mesh/allowed-sources.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'

export interface ConnectionLimits {
  /** In milliseconds. */
  stalledMs: number
  /** 0 is no limit. */
  maxPerAddress: number
  /** Addresses and networks that forward for others: they have no limit of their own. */
  trustedProxies: readonly string[]
  metrics: Metrics
}

/** Minimum bytes that a client must read within the timeout, so that it cannot hold a response for hours by reading one byte at a time. */
const minProgress = 16 * 1024
/** Maximum interval between checks, in milliseconds. */
const pollIntervalMs = 1000
const reasons = ['stalled', 'address'] as const

/** The names that Fastify knows for TRUSTED_PROXIES (proxy-addr). */
const named: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.1/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
}

/** Call this before the server listens. */
export function boundConnections(server: Server, { stalledMs, maxPerAddress, trustedProxies, metrics }: ConnectionLimits): void {
  const open = new Map<Socket, Progress>()
  const proxies = trustedProxies.flatMap((each) => named[each] ?? [each])
  const byAddress = new Map<string, number>()
  const closed = metrics.counter('gateway_connections_closed_total', 'Connections closed because a limit was exceeded', { reason: reasons })
  metrics.gauge('gateway_connections', 'Open connections', [], (gauge) => gauge.set(open.size))

  server.on('connection', (socket: Socket) => {
    const address = networkOf(socket.remoteAddress ?? '')
    const others = byAddress.get(address) ?? 0
    const isProxy = proxies.length > 0 && mayComeFrom(socket.remoteAddress, proxies)
    if (maxPerAddress > 0 && others >= maxPerAddress && !isProxy) {
      closed.inc({ reason: 'address' })
      socket.destroy()
      return
    }
    open.set(socket, { sent: 0, looks: 0 })
    byAddress.set(address, others + 1)
    socket.once('close', () => {
      open.delete(socket)
      const left = byAddress.get(address)! - 1
      if (left > 0) byAddress.set(address, left)
      else byAddress.delete(address)
    })
  })

  const intervalMs = Math.min(pollIntervalMs, stalledMs / 4)
  const maxLooks = Math.ceil(stalledMs / intervalMs)
  const look = setInterval(() => {
    for (const [socket, progress] of open) {
      if (looksWithoutProgress(socket, progress) < maxLooks) continue
      closed.inc({ reason: 'stalled' })
      socket.destroy()
    }
  }, intervalMs)
  look.unref()
  server.once('close', () => clearInterval(look))
}

/** The bytes sent at the last sufficient progress, and the number of checks since. */
interface Progress {
  sent: number
  looks: number
}

/** Counted in checks, not in time: while this process stands still, no client can read from it. */
function looksWithoutProgress(socket: Socket, progress: Progress): number {
  const sent = sentBytes(socket)
  if (socket.writableLength === 0 || sent - progress.sent >= minProgress) {
    progress.sent = sent
    progress.looks = 0
  } else progress.looks += 1
  return progress.looks
}

/**
 * The number of bytes that the kernel has taken. Node counts a chunk as written as soon as it is handed over, and as sent only once all of
 * it is gone. Only the handle knows the bytes in between; Node's own timeouts read it too.
 */
function sentBytes(socket: Socket): number {
  const { _handle: handle } = socket as { _handle?: { bytesWritten: number; writeQueueSize: number } | null }
  return handle?.bytesWritten === undefined ? socket.bytesWritten - socket.writableLength : handle.bytesWritten - handle.writeQueueSize
}
