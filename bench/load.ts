/**
 * The load generator, a separate process with a number of connections, each of which sends its next request after the last response (a
 * closed loop). A latency is the time from handing a request to the client to the end of its response; the wait of users of an open system,
 * whose requests queue up, is not visible here.
 */
import { randomUUID } from 'node:crypto'
import { Client, type Dispatcher } from 'undici'
import { cpuOf, machineBusyMs } from '../measure/processes.ts'

export interface Job {
  /** `list`: GET /actions. `execute`: a preview and its execute, one after the other, as one round. */
  kind: 'list' | 'execute'
  /** The gateway, as http://host:port. */
  url: string
  apiKey: string
  /** The target of the webhooks. */
  receiver: string
  concurrency: number
  /** The end: a number of rounds, or of milliseconds. */
  rounds?: number
  ms?: number
  /** The processes whose CPU time is measured meanwhile: ids by name. */
  processes: Record<string, number>
}

export interface LoadResult {
  rounds: number
  elapsedMs: number
  /** Per request, by its kind: `list`, or `preview` and `execute`; ascending. */
  latenciesMs: Record<string, Float64Array>
  /** Of the last response. */
  bytes: number
  /** Used by each process and its descendants. */
  cpuMs: Record<string, number>
  /** Used by the load generator itself. */
  clientMs: number
  /** Of the whole machine. */
  busyMs: number
}

const asJson = { 'content-type': 'application/json' }

/** One keep-alive connection. undici's `dispatch` is the cheapest client, which leaves more of the machine to what is measured. */
class Connection {
  readonly #client: Client
  readonly #apiKey: string

  constructor({ url, apiKey }: Job) {
    this.#client = new Client(url, { pipelining: 1, keepAliveTimeout: 60_000 })
    this.#apiKey = apiKey
  }

  /** The body of a 2xx response; throws for any other. */
  send(method: Dispatcher.HttpMethod, path: string, headers: Record<string, string> = {}, body?: string): Promise<string> {
    return new Promise((resolve, reject) => {
      let status = 0
      const chunks: Buffer[] = []
      this.#client.dispatch(
        { method, path, headers: { authorization: `Bearer ${this.#apiKey}`, ...headers }, body },
        {
          // undici recognises handlers of this kind by it.
          onRequestStart: () => undefined,
          onResponseStart: (_controller, code) => void (status = code),
          onResponseData: (_controller, chunk) => void chunks.push(chunk),
          onResponseEnd: () => {
            const text = (chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)).toString()
            if (status >= 200 && status < 300) resolve(text)
            else reject(new Error(`${method} ${path} was answered with ${status}: ${text.slice(0, 500)}`))
          },
          onResponseError: (_controller, error) => reject(error),
        },
      )
    })
  }

  close(): Promise<void> {
    return this.#client.destroy()
  }
}

/** Does one round and reports the latency of each request. Returns the last response. */
type LoadRound = (connection: Connection, took: (step: string, ms: number) => void) => Promise<string>

const list: LoadRound = async (connection, took) => {
  const start = performance.now()
  const text = await connection.send('GET', '/actions')
  took('list', performance.now() - start)
  return text
}

function execute(receiver: string): LoadRound {
  const preview = JSON.stringify({ action: 'webhook.save', params: { url: `${receiver}/hook`, method: 'POST', body: { test: 'hello' } } })
  return async (connection, took) => {
    const start = performance.now()
    const { preview_id } = JSON.parse(await connection.send('POST', '/actions/preview', asJson, preview)) as { preview_id: string }
    const previewed = performance.now()
    took('preview', previewed - start)
    const headers = { ...asJson, 'idempotency-key': randomUUID() }
    const text = await connection.send('POST', '/actions/execute', headers, JSON.stringify({ preview_id }))
    took('execute', performance.now() - previewed)
    const { status, error } = JSON.parse(text) as { status: string; error: string | null }
    if (status !== 'success') throw new Error(`a run ended as ${status}: ${error}`)
    return text
  }
}

async function measure(job: Job): Promise<LoadResult> {
  const connections = Array.from({ length: job.concurrency }, () => new Connection(job))
  const round = job.kind === 'list' ? list : execute(job.receiver)
  try {
    // Connects before the clock starts.
    await Promise.all(connections.map((connection) => list(connection, () => undefined)))
    const latencies: Record<string, number[]> = {}
    const took = (step: string, ms: number) => void (latencies[step] ??= []).push(ms)
    let begun = 0
    let bytes = 0
    const before = { cpu: cpuOf(job.processes), own: process.cpuUsage(), busy: machineBusyMs() }
    const start = performance.now()
    const until = start + (job.ms ?? Infinity)
    const loop = async (connection: Connection): Promise<void> => {
      while (begun < (job.rounds ?? Infinity) && performance.now() < until) {
        begun += 1
        bytes = Buffer.byteLength(await round(connection, took))
      }
    }
    await Promise.all(connections.map(loop))
    const elapsedMs = performance.now() - start
    const busyMs = machineBusyMs() - before.busy
    const own = process.cpuUsage(before.own)
    const after = cpuOf(job.processes)
    return {
      rounds: begun,
      elapsedMs,
      latenciesMs: Object.fromEntries(Object.entries(latencies).map(([step, values]) => [step, Float64Array.from(values).sort()])),
      bytes,
      cpuMs: Object.fromEntries(Object.entries(after).map(([name, ms]) => [name, ms - before.cpu[name]!])),
      clientMs: (own.user + own.system) / 1000,
      busyMs,
    }
  } finally {
    await Promise.all(connections.map((connection) => connection.close()))
  }
}

process.on('message', (job: Job) => {
  measure(job).then(
    (measured) => process.send!({ measured }),
    (error: Error) => process.send!({ error: error.message }),
  )
})
process.on('disconnect', () => process.exit())
