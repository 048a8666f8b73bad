/** One user of Relay: what each kind of request is, based on earlier responses, and whether a response is what the contract promises. */
import { randomUUID } from 'node:crypto'
import type { Deliveries } from './delivery-report.ts'
import type { Outcome } from './measurements.ts'
import type { Kind } from './workload.ts'

export interface Request {
  method: 'GET' | 'POST'
  path: string
  headers?: Record<string, string>
  body?: string
}

export interface Reply {
  status: number
  /** The Idempotency-Replayed header. */
  replayed: string | undefined
  text: string
}

/** One request and how its response is judged; `reply` is undefined if there was none. */
export interface UserStep {
  request: Request
  read(reply: Reply | undefined): Outcome
}

interface Run {
  runId: string
  requestId: unknown
  key: string
  previewId: string
}

export interface VisitorParts {
  /** The target of webhooks, without a trailing slash. */
  receiver: string
  /** Marks this run's webhooks. */
  tag: string
  deliveries: Deliveries
}

/** The number of runs that are remembered for look-ups and replays. */
const maxRuns = 1000

type Body = Record<string, unknown> & { run?: { run_id?: unknown } }

function bodyOf({ text }: Reply): Body {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null ? (body as Body) : {}
  } catch {
    return {}
  }
}

const post = (path: string, body: unknown, key?: string): Request => ({
  method: 'POST',
  path,
  headers: key === undefined ? {} : { 'idempotency-key': key },
  body: JSON.stringify(body),
})

export class Visitor {
  readonly refusals = { asked: 0, accepted: 0 }
  readonly replays = { answered: 0, other: 0 }
  readonly #parts: VisitorParts
  readonly #previews: { nonce: string; previewId: string }[] = []
  readonly #runs: Run[] = []
  #count = 0

  constructor(parts: VisitorParts) {
    this.#parts = parts
  }

  /** The next request of a kind; undefined if what it builds on does not exist. */
  step(kind: Kind): UserStep | undefined {
    this.#count += 1
    switch (kind) {
      case 'list':
        return this.#get('/actions', ({ actions }) => Array.isArray(actions) && actions.length > 0)
      case 'runs':
        return this.#get('/actions/runs?page_size=20', ({ runs }) => Array.isArray(runs) && runs.length > 0)
      case 'run': {
        const run = this.#someRun()
        return run && this.#get(`/actions/runs/${encodeURIComponent(run.runId)}`, (body) => body.run?.run_id === run.runId)
      }
      case 'preview':
        return this.#preview()
      case 'execute':
        return this.#execute()
      case 'replay':
        return this.#replay()
      case 'refused':
        return this.#refused()
    }
  }

  #get(path: string, good: (body: Body) => boolean): UserStep {
    return { request: { method: 'GET', path }, read: reading((reply) => reply.status === 200 && good(bodyOf(reply))) }
  }

  #preview(): UserStep {
    const nonce = `${this.#parts.tag}-${this.#count}`
    const body = { gate: this.#parts.tag, nonce, text: 'x'.repeat(200) }
    return {
      request: post('/actions/preview', { action: 'webhook.save', params: { url: `${this.#parts.receiver}/gate`, method: 'POST', body } }),
      read: reading((reply) => {
        const { preview_id: previewId } = bodyOf(reply)
        if (reply.status !== 200 || typeof previewId !== 'string') return false
        this.#previews.push({ nonce, previewId })
        return true
      }),
    }
  }

  #execute(): UserStep | undefined {
    const preview = this.#previews.shift()
    if (preview === undefined) return undefined
    const { nonce, previewId } = preview
    const key = `gate-${randomUUID()}`
    this.#parts.deliveries.asked(nonce)
    return {
      request: post('/actions/execute', { preview_id: previewId }, key),
      read: reading((reply) => {
        const { run_id: runId, status, request_id: requestId } = bodyOf(reply)
        if (reply.status !== 200 || status !== 'success' || typeof runId !== 'string') return false
        this.#parts.deliveries.succeeded(nonce, runId)
        this.#runs.push({ runId, requestId, key, previewId })
        if (this.#runs.length > maxRuns) this.#runs.shift()
        return true
      }),
    }
  }

  /** Alternates between the original preview and one that never existed: the key alone decides. */
  #replay(): UserStep | undefined {
    const run = this.#someRun()
    if (run === undefined) return undefined
    const previewId = this.#count % 4 < 2 ? run.previewId : 'expired-or-invalid'
    return {
      request: post('/actions/execute', { preview_id: previewId }, run.key),
      read: reading((reply) => {
        if (reply.status >= 500 || reply.status === 429) return false
        const { run_id: runId, request_id: requestId } = bodyOf(reply)
        const same = reply.status === 200 && runId === run.runId && requestId !== run.requestId && reply.replayed === 'true'
        this.replays.answered += 1
        if (!same) this.replays.other += 1
        return same
      }),
    }
  }

  #refused(): UserStep {
    const turn = this.refusals.asked % 3
    this.refusals.asked += 1
    const preview = { action: 'webhook.lose', params: {} }
    const cases: { request: Request; status: number }[] = [
      { request: post('/actions/execute', { preview_id: `no-preview-${this.#count}` }, `gate-${randomUUID()}`), status: 404 },
      { request: { method: 'POST', path: '/actions/preview', body: '{"action": "webhook.save", ' }, status: 400 },
      { request: post('/actions/preview', preview), status: 404 },
    ]
    const { request, status } = cases[turn]!
    return {
      request,
      read: reading((reply) => {
        if (reply.status < 400) this.refusals.accepted += 1
        return reply.status === status
      }),
    }
  }

  /** Alternates between the latest run and earlier ones, as people do. */
  #someRun(): Run | undefined {
    return this.#count % 2 === 0 ? this.#runs.at(-1) : this.#runs[this.#count % Math.max(1, this.#runs.length)]
  }
}

/** What holds for any response, whatever was requested. */
const reading =
  (good: (reply: Reply) => boolean): UserStep['read'] =>
  (reply) => {
    if (reply === undefined) return 'lost'
    const right = good(reply)
    if (reply.status >= 500) return 'server_error'
    if (reply.status === 429) return 'limited'
    return right ? 'ok' : 'wrong'
  }
