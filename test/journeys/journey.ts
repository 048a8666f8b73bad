/** What the journeys share: a whole mesh of real processes in a folder of its own, and its HTTP API as a client sees it. */
import { randomBytes, randomUUID } from 'node:crypto'
import { request } from 'undici'
import { type Mesh, type MeshOptions, startMesh } from '../../deploy/local/mesh.ts'
import { temporaryFolder } from '../deploy/folder.ts'
import { sharedPostgres } from '../setup/database.ts'

export interface Reply {
  status: number
  headers: Record<string, string | string[] | undefined>
  // Bodies are what the tests are about: they look at any part of them.
  // oxlint-disable-next-line typescript/no-explicit-any
  body: any
  text: string
}

export interface Api {
  call(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    options?: { body?: unknown; raw?: string; headers?: Record<string, string>; timeoutMs?: number; signal?: AbortSignal | undefined },
  ): Promise<Reply>
  list(): Promise<Reply>
  preview(url: string, params?: object): Promise<Reply>
  /** The id of a new preview of a POST to `url`. */
  previewId(url: string, params?: object): Promise<string>
  execute(previewId: string, key?: string): Promise<Reply>
  run(runId: string): Promise<Reply>
}

/** Calls the gateways in turn. */
export function api({ gateways, apiKey }: Pick<Mesh, 'gateways' | 'apiKey'>): Api {
  let calls = 0
  const call: Api['call'] = async (method, path, { body, raw, headers = {}, timeoutMs = 40_000, signal } = {}) => {
    const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body))
    const response = await request(gateways[calls++ % gateways.length] + path, {
      method,
      headers: { authorization: `Bearer ${apiKey}`, ...(payload !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: payload ?? null,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      signal,
    })
    const text = await response.body.text()
    const json = /[/+]json/.test(String(response.headers['content-type']))
    return { status: response.statusCode, headers: response.headers, body: json ? JSON.parse(text) : text, text }
  }
  const preview: Api['preview'] = (url, params = {}) =>
    call('POST', '/actions/preview', { body: { action: 'webhook.save', params: { url, body: { nonce: randomUUID() }, ...params } } })
  return {
    call,
    list: () => call('GET', '/actions'),
    preview,
    async previewId(url, params) {
      const reply = await preview(url, params)
      if (reply.status !== 200) throw new Error(`no preview: ${reply.status} ${reply.text}`)
      return reply.body.preview_id as string
    },
    execute: (previewId, key) =>
      call('POST', '/actions/execute', { body: { preview_id: previewId }, headers: key === undefined ? {} : { 'idempotency-key': key } }),
    run: (runId) => call('GET', `/actions/runs/${runId}`),
  }
}

export interface Journey {
  mesh: Mesh
  api: Api
  end(): Promise<void>
}

/** Limits so high that no journey meets them by accident. */
const unlimited = { RATELIMIT_FILE: new URL('./unlimited.yaml', import.meta.url).pathname, ADDRESS_LIMIT: '0', EXCHANGE_LIMIT: '100000' }

export interface JourneyOptions extends Partial<MeshOptions> {
  /** Where the journey stops Postgres: otherwise it is that of the test run. */
  ownPostgres?: boolean
}

export async function journey({ ownPostgres = false, ...options }: JourneyOptions = {}): Promise<Journey> {
  const folder = temporaryFolder()
  const shared = ownPostgres ? {} : { databaseUrl: await sharedPostgres(), databasePrefix: `journey_${randomBytes(4).toString('hex')}` }
  const mesh = await startMesh({
    folder: folder.path,
    durable: false,
    ...shared,
    ...options,
    env: { LOG_LEVEL: 'info', ...unlimited, RUN_LEASE: '2s', RECONCILE_EVERY: '200ms', ...options.env },
  })
  return {
    mesh,
    api: api(mesh),
    async end() {
      await mesh.stop()
      folder.remove()
    },
  }
}

/** Asks until the answer is one that was waited for. */
export async function until<T>(ask: () => Promise<T>, good: (value: T) => boolean, timeoutMs = 20_000): Promise<T> {
  const end = Date.now() + timeoutMs
  for (;;) {
    const value = await ask()
    if (good(value)) return value
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms in vain; last was ${JSON.stringify(value)?.slice(0, 500)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
