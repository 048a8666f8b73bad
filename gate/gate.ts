/** One run of the gate: a warm-up, the load with snapshots of the mesh meanwhile, and the measurements. */
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { ListenAddress } from '#mesh/config.ts'
import { Deliveries } from './delivery-report.ts'
import { Caller } from './http.ts'
import { load } from './load.ts'
import type { MeasuredResponse, Measurements } from './measurements.ts'
import { type Snapshot, meshSeen } from './mesh-metrics.ts'
import type { MetricsSource } from './metrics-source.ts'
import { startReceiver } from './receiver.ts'
import { type Target, TargetError } from './target.ts'
import { type Reply, Visitor } from './virtual-user.ts'

export interface GateOptions {
  ratePerSecond: number
  runMs: number
  warmUpMs: number
  /** How long after the last response to wait for second deliveries, in milliseconds. */
  settleTimeoutMs: number
  /** The interval between snapshots of the mesh, in milliseconds. */
  pollIntervalMs: number
  receiver: {
    listen: ListenAddress
    /** The receiver's URL as the mesh reaches it, if that differs. */
    url: string | undefined
    delayMs: number
  }
  signal: AbortSignal
  /** Called with progress a few times per minute. */
  onProgress?: (progress: Progress) => void
}

export interface Progress {
  elapsedMs: number
  answers: readonly MeasuredResponse[]
}

export interface GateRun {
  measurements: Measurements
  /** Unexpected responses, with their number: for diagnosis. */
  unexpectedResponses: Record<string, number>
}

function unexpectedResponseOf({ kind, outcome }: MeasuredResponse, reply: Reply | undefined): string {
  if (reply === undefined) return `${kind}: no answer`
  const reason = /"(?:reason|status)":\s*"([A-Z_a-z]{1,40})"/.exec(reply.text.slice(0, 4096))?.[1]
  return `${kind}: ${reply.status}${reason === undefined ? '' : ` ${reason}`}${outcome === 'wrong' ? ', not what was due' : ''}`
}

/** Takes snapshots until it is stopped, which waits for the one in progress. */
function watch(source: MetricsSource, intervalMs: number): { stop: () => Promise<Snapshot[]> } {
  const stopping = new AbortController()
  const looks: Snapshot[] = []
  const watching = (async () => {
    for (;;) {
      await pause(intervalMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      if (stopping.signal.aborted) return
      looks.push(await source.read())
    }
  })()
  // It is awaited below, but may fail before.
  watching.catch(() => undefined)
  return {
    async stop() {
      stopping.abort()
      await watching
      return looks
    },
  }
}

/** Throws a TargetError if nothing can be judged. */
export async function measure({ gateway, apiKey }: Target, source: MetricsSource, options: GateOptions): Promise<GateRun> {
  const { ratePerSecond, runMs, warmUpMs, signal, onProgress } = options
  const tag = randomBytes(9).toString('base64url')
  const deliveries = new Deliveries()
  const caller = new Caller(gateway, apiKey)
  const receiver = await startReceiver({ ...options.receiver, tag, onDelivery: (delivery) => deliveries.arrived(delivery) })
  try {
    await assertAnswers(caller, gateway)
    const virtualUser = new Visitor({ receiver: options.receiver.url ?? receiver.url, tag, deliveries })
    const unexpectedResponses: Record<string, number> = {}
    const parts = { step: virtualUser.step.bind(virtualUser), send: caller.send.bind(caller), ratePerSecond, signal }
    const warmed = await load({ ...parts, ms: warmUpMs, first: 0 })
    signal.throwIfAborted()

    const before = await source.readAfter(Date.now())
    if (before.size === 0) throw new TargetError('No metrics of the mesh can be read: is it the right address?')
    const watching = watch(source, options.pollIntervalMs)
    const seen: MeasuredResponse[] = []
    const start = performance.now()
    const telling = setInterval(() => onProgress?.({ elapsedMs: performance.now() - start, answers: seen }), 5000)
    const onAnswer = (response: MeasuredResponse, reply: Reply | undefined): void => {
      seen.push(response)
      if (response.outcome === 'ok') return
      const unexpectedResponse = unexpectedResponseOf(response, reply)
      unexpectedResponses[unexpectedResponse] = (unexpectedResponses[unexpectedResponse] ?? 0) + 1
    }
    const loaded = await load({ ...parts, ms: runMs, first: warmed.next, onAnswer }).finally(() => clearInterval(telling))
    const during = await watching.stop()
    signal.throwIfAborted()
    const after = await source.readAfter(Date.now())
    // Second deliveries may arrive late, and nothing signals that none will follow.
    await pause(options.settleTimeoutMs, undefined, { signal })

    const names = [...new Set([...before.keys(), ...(source.names ?? [])])]
    const { answers: responses, starved, lateP99Ms } = loaded
    const { refusals, replays } = virtualUser
    const mesh = meshSeen(names, [before, ...during, after])
    const deliveryReport = deliveries.deliveryReport()
    return {
      measurements: { runMs, ratePerSecond, answers: responses, starved, lateP99Ms, refusals, replays, deliveryReport, mesh },
      unexpectedResponses,
    }
  } finally {
    await caller.stop()
    await receiver.stop()
  }
}

async function assertAnswers(caller: Caller, gateway: URL): Promise<void> {
  const reply = await caller.send({ method: 'GET', path: '/actions' }).catch((error: unknown) => error as Error)
  if (reply instanceof Error) {
    throw new TargetError(`${gateway.origin} does not answer (${reply.message}): is it running? "make up" starts a mesh here.`)
  }
  if (reply.status === 200) return
  throw new TargetError(`${gateway.origin} answers ${reply.status} to GET /actions: is the API key one of this mesh?`)
}
