/**
 * A mesh as the release gate sees it: the gateway's contract, held strictly, and the metrics of a gateway and an actions process that count
 * what it does. What it does wrong is switched on:
 *
 *   const mesh = await startGateMesh({ lightMs: 400 })
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Target } from '../../gate/target.ts'

export interface GateFaults {
  /** Answers every n-th request with a 500; 0 never. */
  errorEvery?: number
  /** One 500 in each so many milliseconds; 0 never. */
  errorEachMs?: number
  /** How long the light endpoints take. */
  lightMs?: number
  /** How long an execute takes beside its delivery. */
  webhookMs?: number
  /** What the actions process claims to occupy, in MB. */
  residentMb?: number
  /** CPU time that each request is said to take, in milliseconds. */
  cpuMs?: number
  /** Delivers once more: under the same run, or under another one. */
  duplicate?: 'same run' | 'other run'
  /** Says success without a delivery. */
  undelivered?: boolean
  /** Previews deliver, too. */
  eager?: boolean
  /** A replay is another run. */
  otherRun?: boolean
  /** A replay does not say that it is one. */
  silentReplay?: boolean
  /** Accepts what must be refused. */
  acceptsAll?: boolean
  /** Allows so many requests, then answers 429. */
  allowance?: number
  /** The actions process is another one after so many requests. */
  restartAfter?: number
  /** The actions process shows no metrics after so many requests. */
  silentAfter?: number
}

export interface GateMesh {
  readonly target: Target
  /** What `make up` would have left of it, as JSON. */
  readonly local: string
  stop(): Promise<void>
}

const apiKey = 'gate-mesh-key'
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.2, 2.5, 5, 10, 30]

/** One family of each kind is all that is needed. */
class Counts {
  readonly #requests = new Map<string, number>()
  readonly #seconds = new Map<string, number[]>()

  count(labels: string): void {
    this.#requests.set(labels, (this.#requests.get(labels) ?? 0) + 1)
  }

  observe(labels: string, seconds: number): void {
    const values = this.#seconds.get(labels) ?? []
    values.push(seconds)
    this.#seconds.set(labels, values)
  }

  counters = (name: string): string[] => [
    `# TYPE ${name} counter`,
    ...[...this.#requests].map(([labels, count]) => `${name}{${labels}} ${count}`),
  ]

  histograms = (name: string): string[] => [
    `# TYPE ${name} histogram`,
    ...[...this.#seconds].flatMap(([labels, values]) => [
      ...bounds.map((le) => `${name}_bucket{le="${le}",${labels}} ${values.filter((value) => value <= le).length}`),
      `${name}_bucket{le="+Inf",${labels}} ${values.length}`,
      `${name}_sum{${labels}} ${values.reduce((sum, value) => sum + value, 0)}`,
      `${name}_count{${labels}} ${values.length}`,
    ]),
  ]
}

interface Run {
  runId: string
  previewId: string
}

interface MeshResponse {
  status: number
  body: Record<string, unknown>
  replayed?: boolean
}

const problem = (status: number, reason: string): MeshResponse => ({ status, body: { status, reason, request_id: randomUUID() } })
const good = (body: Record<string, unknown>, replayed = false): MeshResponse => {
  return { status: 200, body: { ...body, request_id: randomUUID() }, replayed }
}

export async function startGateMesh(faults: GateFaults = {}): Promise<GateMesh> {
  const previews = new Map<string, { url: string; body: unknown }>()
  const keys = new Map<string, Run>()
  const runs = new Map<string, Run>()
  const gateway = new Counts()
  const actions = new Counts()
  const began = Date.now() / 1000
  let requests = 0
  let lastErrorAt = performance.now()

  const deliver = async (runId: string, { url, body }: { url: string; body: unknown }): Promise<void> => {
    const headers = { 'content-type': 'application/json', 'webhook-id': runId }
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
    await response.arrayBuffer()
  }

  const preview = async ({ action, params }: Record<string, unknown>): Promise<MeshResponse> => {
    if (action !== 'webhook.save') return faults.acceptsAll === true ? good({ preview_id: randomUUID() }) : problem(404, 'UNKNOWN_ACTION')
    const { url, method, body } = params as { url?: unknown; method?: unknown; body?: unknown }
    if (typeof url !== 'string' || method !== 'POST') return problem(400, 'INVALID_PARAMS')
    const previewId = randomUUID()
    previews.set(previewId, { url, body })
    if (faults.eager === true) await deliver(randomUUID(), { url, body })
    return good({ preview_id: previewId })
  }

  const execute = async ({ preview_id: previewId }: Record<string, unknown>, key: string | undefined): Promise<MeshResponse> => {
    if (key === undefined || typeof previewId !== 'string') return problem(400, 'INVALID_REQUEST')
    const known = keys.get(key)
    if (known !== undefined) {
      const runId = faults.otherRun === true ? randomUUID() : known.runId
      return good({ run_id: runId, status: 'success' }, faults.silentReplay !== true)
    }
    const found = previews.get(previewId)
    if (found === undefined) {
      return faults.acceptsAll === true ? good({ run_id: randomUUID(), status: 'success' }) : problem(404, 'PREVIEW_INVALID')
    }
    const run = { runId: randomUUID(), previewId }
    const start = performance.now()
    keys.set(key, run)
    runs.set(run.runId, run)
    if (faults.undelivered !== true) await deliver(run.runId, found)
    if (faults.duplicate !== undefined) await deliver(faults.duplicate === 'same run' ? run.runId : randomUUID(), found)
    await pause(faults.webhookMs ?? 0)
    actions.observe('provider="independent",action="webhook.save"', (performance.now() - start) / 1000)
    return good({ run_id: run.runId, status: 'success' })
  }

  const routes: Record<
    string,
    (request: http.IncomingMessage, body: Record<string, unknown>, url: URL) => MeshResponse | Promise<MeshResponse>
  > = {
    'GET /actions': () => good({ actions: [{ action: 'webhook.save' }] }),
    'POST /actions/preview': (_request, body) => preview(body),
    'POST /actions/execute': (request, body) => execute(body, request.headers['idempotency-key'] as string | undefined),
    'GET /actions/runs': () => good({ runs: [...runs.keys()].slice(-20).map((runId) => ({ run_id: runId })) }),
    'GET /actions/runs/{run_id}': (_request, _body, url) => {
      const run = runs.get(url.pathname.split('/').at(-1)!)
      return run === undefined ? problem(404, 'RUN_NOT_FOUND') : good({ run: { run_id: run.runId } })
    },
  }

  const answer = async (request: http.IncomingMessage, endpoint: string, url: URL): Promise<MeshResponse> => {
    const text = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)).toString()
    if (request.headers.authorization !== `Bearer ${apiKey}`) return problem(401, 'UNAUTHENTICATED')
    requests += 1
    if (requests > (faults.allowance ?? Infinity)) return problem(429, 'RATE_LIMITED')
    if (faults.errorEvery !== undefined && requests % faults.errorEvery === 0) return problem(500, 'INTERNAL')
    if (faults.errorEachMs !== undefined && performance.now() - lastErrorAt > faults.errorEachMs) {
      lastErrorAt = performance.now()
      return problem(500, 'INTERNAL')
    }
    let body: Record<string, unknown> = {}
    if (request.method === 'POST') {
      if (request.headers['content-type'] !== 'application/json') return problem(415, 'UNSUPPORTED_MEDIA_TYPE')
      try {
        body = JSON.parse(text) as Record<string, unknown>
      } catch {
        return faults.acceptsAll === true ? good({ preview_id: randomUUID() }) : problem(400, 'INVALID_JSON')
      }
    }
    if (endpoint !== 'POST /actions/execute') await pause(faults.lightMs ?? 0)
    return (await routes[endpoint]?.(request, body, url)) ?? problem(404, 'NOT_FOUND')
  }

  const common = (process: string): string[] => {
    const restarted = process === 'actions' && requests > (faults.restartAfter ?? Infinity)
    const mb = process === 'actions' ? (faults.residentMb ?? 100) : 100
    return [
      `process_start_time_seconds{service="${process}"} ${restarted ? began + 1 : began}`,
      `process_resident_memory_bytes{service="${process}"} ${mb * 1e6}`,
      `process_cpu_seconds_total{service="${process}"} ${(requests * (faults.cpuMs ?? 1)) / 1000}`,
    ]
  }

  const server = http.createServer((request, response) => {
    const url = new URL(request.url!, 'http://gate-mesh.example.com')
    if (url.pathname === '/gateway/metrics') {
      const counted = [...gateway.counters('http_requests_total'), ...gateway.histograms('http_request_duration_seconds')]
      response.end([...common('gateway'), ...counted, ''].join('\n'))
      return
    }
    if (url.pathname === '/actions-process/metrics') {
      if (requests > (faults.silentAfter ?? Infinity)) return void response.destroy()
      response.end([...common('actions'), ...actions.histograms('action_latency_seconds'), ''].join('\n'))
      return
    }
    const start = performance.now()
    const endpoint = `${request.method} ${url.pathname.replace(/^(\/actions\/runs\/).+$/, '$1{run_id}')}`
    answer(request, endpoint, url).then(
      ({ status, body, replayed = false }) => {
        const [method, path] = endpoint.split(' ')
        gateway.count(`endpoint="${path}",method="${method}",status_code="${status}"`)
        gateway.observe(`endpoint="${path}",method="${method}"`, (performance.now() - start) / 1000)
        const headers = { 'content-type': 'application/json', ...(replayed && { 'idempotency-replayed': 'true' }) }
        response.writeHead(status, headers).end(JSON.stringify(body))
      },
      () => response.destroy(),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    target: {
      gateway: new URL(at),
      apiKey,
      metrics: { gateway: new URL(`${at}/gateway/metrics`), actions: new URL(`${at}/actions-process/metrics`) },
    },
    local: JSON.stringify({
      gateway: at,
      gateway_admin: `${at}/gateway/metrics`,
      api_key: apiKey,
      services: { actions: { grpc: '127.0.0.1:1', admin: `${at}/actions-process/metrics`, pid: 1 } },
    }),
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
