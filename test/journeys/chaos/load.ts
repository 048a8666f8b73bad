/** People at work while things go wrong around them: each previews and executes, under a key of its own, until told to stop. */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Api, Reply } from '../journey.ts'
import type { Status, Story } from './verdict.ts'

export interface Person {
  /** With a key of their own. */
  api: Api
}

export interface LoadParts {
  people: readonly Person[]
  /** Where webhooks go; and where nobody listens. */
  targets: { there: string; nowhere: string }
  random: () => number
}

interface Work extends Story {
  api: Api
  key: string
  previewId: string
}

interface Kind {
  action: string
  /** Of a hundred. */
  share: number
  redelivers?: boolean
  params(nonce: string, targets: LoadParts['targets']): object
}

const mail = (nonce: string) => ({ to: ['ada@example.com'], subject: nonce, text: 'Hello' })
const at = (hour: number) => ({ date_time: `2027-03-01T${hour}:00:00`, time_zone: 'Europe/Zurich' })
const event = (nonce: string) => ({ title: nonce, start: at(10), end: at(11) })

const kinds: readonly Kind[] = [
  { action: 'webhook.save', share: 35, params: (nonce, { there }) => ({ url: there, body: { nonce } }) },
  {
    action: 'webhook.save',
    share: 25,
    redelivers: true,
    params: (nonce, { there }) => ({ url: there, body: { nonce }, redeliver_after_crash: true }),
  },
  { action: 'webhook.save', share: 4, params: (nonce, { nowhere }) => ({ url: nowhere, body: { nonce } }) },
  { action: 'gmail.send_email', share: 9, params: mail },
  { action: 'outlook.send_email', share: 15, params: mail },
  { action: 'google_calendar.create_event', share: 6, params: event },
  { action: 'outlook_calendar.create_event', share: 6, params: event },
]

const atWork = 16
/** One in so many does not wait for the answer. */
const hangUps = 0.06

/** What says "not now", and asks to come again. */
const isNotNow = ({ status, body }: Reply): boolean => status === 503 || status === 504 || (status === 409 && body.reason === 'IN_PROGRESS')
const named = ({ status, body }: Reply): string => `${status} ${body?.reason ?? ''}: ${body?.detail ?? ''}`

export class Load {
  readonly #parts: LoadParts
  readonly #work: Work[] = []
  readonly #working: Promise<void>[]
  /** Previews that were refused although nothing was wrong with them. */
  readonly refusedPreviews: string[] = []
  #over = false

  constructor(parts: LoadParts) {
    this.#parts = parts
    this.#working = Array.from({ length: atWork }, () => this.#begin())
  }

  get stories(): readonly Story[] {
    return this.#work
  }

  /** Lets them finish what they are at. */
  async stop(): Promise<void> {
    this.#over = true
    await Promise.all(this.#working)
  }

  /** Asks after each key until it has its end, and after what is unknown for as long as `timeoutMs`: it may become known. */
  async settle(timeoutMs: number, settleTimeoutMs: number): Promise<void> {
    const end = Date.now() + timeoutMs
    const without = () => this.#work.filter(({ told }) => told.length === 0)
    while (without().length > 0 && Date.now() < end) await inTurn(without(), (each) => this.#ask(each))
    const unknown = () => this.#work.filter(({ told }) => told.at(-1)?.status === 'unknown')
    const until = Date.now() + settleTimeoutMs
    while (unknown().length > 0 && Date.now() < until) {
      await pause(500)
      await inTurn(unknown(), (each) => this.#ask(each))
    }
    // And once more all of them: what was said must still stand.
    await inTurn(
      this.#work.filter(({ told }) => told.length > 0),
      (each) => this.#ask(each),
    )
  }

  async #begin(): Promise<void> {
    const { random } = this.#parts
    while (!this.#over) {
      const work = await this.#previewed()
      if (work === undefined) {
        await pause(50 + random() * 100)
        continue
      }
      this.#work.push(work)
      await this.#ask(work, random() < hangUps ? AbortSignal.timeout(Math.ceil(random() * 60)) : undefined)
    }
  }

  async #previewed(): Promise<Work | undefined> {
    const { people, random, targets } = this.#parts
    const { action, redelivers = false, params } = pick(random)
    const { api } = people[Math.floor(random() * people.length)]!
    const nonce = randomUUID()
    const reply = await api.call('POST', '/actions/preview', { body: { action, params: params(nonce, targets) } }).catch(() => undefined)
    if (reply === undefined) return undefined
    if (reply.status === 200) {
      return { nonce, action, redelivers, told: [], refusals: [], api, key: `k-${nonce}`, previewId: reply.body.preview_id as string }
    }
    if (!isNotNow(reply)) this.refusedPreviews.push(`${action} preview was refused with ${named(reply)}`)
    return undefined
  }

  async #ask({ api, previewId, key, told, refusals }: Work, signal?: AbortSignal): Promise<void> {
    const headers = { 'idempotency-key': key }
    const reply = await api.call('POST', '/actions/execute', { body: { preview_id: previewId }, headers, signal }).catch(() => undefined)
    if (reply === undefined) return
    if (reply.status === 200) {
      const { run_id: runId, status, error } = reply.body as { run_id: string; status: Status; error: { reason?: string } | null }
      told.push({ runId, status, reason: error === null ? undefined : JSON.stringify(error) })
    } else if (isNotNow(reply)) await pause(100)
    else if (!refusals.includes(named(reply))) refusals.push(named(reply))
  }
}

function pick(random: () => number): Kind {
  let left = random() * 100
  return kinds.find(({ share }) => (left -= share) < 0) ?? kinds[0]!
}

/** A few at a time. */
async function inTurn<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items]
  await Promise.all(
    Array.from({ length: 12 }, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
    }),
  )
}
