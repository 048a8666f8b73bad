/**
 * `webhook.save`: one signed HTTP request to a target that the client chooses.
 *
 * Until the connection is established nothing was sent, so every error is `failed`; from then on only a status line says what happened.
 * Without one the outcome is `unknown`, and nothing is sent again to find out, unless after a crash if the preview requested and showed
 * that: then with the same webhook-id, by which a receiver recognises the delivery.
 */
import canonicalize from 'canonicalize'
import { z } from 'zod'
import { type FairSlots, NoSlot } from '#mesh/fair-slots.ts'
import { ConnectError } from '#mesh/outgoing/connect.ts'
import { ExchangeError, headerLimits } from '#mesh/outgoing/exchange.ts'
import type { Lookup } from '#mesh/outgoing/resolver.ts'
import { sign, standardWebhookHeaders } from '#mesh/signature.ts'
import type { ActiveSignatureKeys } from '#mesh/signature-states.ts'
import packageJson from '../../../package.json' with { type: 'json' }
import { type Adapter, type Outcome, type RunHandle, RunStopped } from '../adapter.ts'
import type { TargetPolicy } from '../egress/egress-policy.ts'
import { errors } from '../errors.ts'
import { outgoing } from '../egress/outgoing.ts'
import type { Connection } from '../egress/outgoing.ts'
import { shownText } from './plain-text.ts'
import { busySentence, deliverySlots } from './slots.ts'
import { deliver } from './webhook-delivery.ts'
import type { WebhookResponse, Delivery } from './webhook-delivery.ts'

const methods = ['POST', 'PUT', 'PATCH', 'DELETE', 'GET'] as const

const params = z.strictObject({
  url: z.string().max(2048).optional().describe('Where to send it: http or https, a public host. WEBHOOK_URL where it is left out.'),
  method: z
    .preprocess((value) => (typeof value === 'string' ? value.toUpperCase() : value), z.enum(methods))
    .default('POST')
    .describe('The HTTP method.'),
  body: z.unknown().optional().describe('Any JSON value; sent as canonical JSON (RFC 8785). A GET has none.'),
  redeliver_after_crash: z
    .boolean()
    .optional()
    .describe('Deliver again, with the same webhook-id, where a crash here hides what came of the first delivery.'),
})

export type WebhookParams = z.output<typeof params>

/** Every reason of one delivery other than success. */
export const deliveryReasons = [
  'TARGET_REFUSED', // failed: the target is not public (any more); nothing was sent
  'OUTGOING_BUSY', // failed: the maximum number of requests was in flight here; nothing was sent
  'WEBHOOK_CONNECTION', // failed: no connection; nothing was sent
  'WEBHOOK_REDIRECT', // failed: a status of 300 to 399
  'WEBHOOK_STATUS', // failed: a status of 400 or more
  'WEBHOOK_TIMEOUT', // unknown: no status in time; failed: the run was stopped before anything was sent
  'WEBHOOK_CONNECTION_LOST', // unknown: sent, and then no readable status
  'WEBHOOK_HEADERS_TOO_LARGE', // unknown: sent, and the headers of the response exceed the limit
] as const

/** Every reason of this adapter's outcomes. */
export const webhookReasons = [
  ...deliveryReasons,
  'WEBHOOK_OUTCOME_LOST', // unknown: a crash hides the result
] as const
export type WebhookReason = (typeof webhookReasons)[number]

export type DeliveryOutcome = 'success' | (typeof deliveryReasons)[number]

export interface WebhookOptions {
  /** The keys that sign for a workspace now; rejects if they are unknown until the signal aborts. */
  signingKeys: (workspace: string, signal: AbortSignal) => Promise<ActiveSignatureKeys>
  /** WEBHOOK_URL: the target if a preview names none. */
  defaultUrl?: string | undefined
  policy: TargetPolicy
  /** For the whole delivery, from resolving the name to the end of the response. */
  timeoutMs?: number
  /** Maximum bytes of a response that are kept. */
  maxResponseBytes?: number
  lookup?: Lookup | undefined
  /** Maximum deliveries at once, and how many wait for a slot. */
  slots?: FairSlots
  /** Called for each delivery with its duration; undefined if it had no turn. */
  count?: (outcome: DeliveryOutcome, seconds: number | undefined) => void
  /** Milliseconds since the epoch. */
  now?: () => number
}

/** Maximum deliveries in total, including the first, if the preview requested redelivery. */
const maxAttempts = 5

/** Checking an owned lease takes no time; if the check takes longer, the connection is opened again. In milliseconds. */
const freshMs = 100

export function webhookAdapter(options: WebhookOptions): Adapter<WebhookParams> {
  const { signingKeys, defaultUrl, policy, timeoutMs = 10_000, maxResponseBytes = 64 * 1024, lookup, count, now = Date.now } = options
  const { slots = deliverySlots() } = options
  const network = outgoing({ policy, lookup })

  return {
    action: 'webhook.save',
    provider: 'independent',
    description: 'Sends one signed HTTP request.',
    guarantee:
      'At most one delivery per run, unless redeliver_after_crash is set: then the same request may be delivered again after a crash. Every delivery has the webhook-id of its run, by which a receiver recognises a repeat. After a lost response the outcome is unknown.',
    reasons: webhookReasons,
    params,

    async preview({ url = defaultUrl, method, body, redeliver_after_crash }, { workspace, signal }) {
      if (url === undefined) throw invalid('url', 'is missing, and no WEBHOOK_URL is configured to take its place.')
      if (method === 'GET' && body !== undefined) throw invalid('body', 'must be left out: a GET has no body.')
      bodyBytes(body)
      const { target, warnings } = await network.check(url, workspace, signal)
      return {
        params: {
          url,
          method,
          ...(body === undefined ? {} : { body }),
          ...(redeliver_after_crash === undefined ? {} : { redeliver_after_crash }),
        },
        summary: [
          `Send ${method} request to ${url}`,
          'Request will be signed with X-Signature header.',
          ...(redeliver_after_crash
            ? ['If a crash or an outage here hides its outcome, the request is delivered again with the same webhook-id.']
            : []),
        ].join('\n'),
        warnings: [...spellingWarnings(url, target.url), ...warnings],
      }
    },

    execute: attempt,

    async reconcile(shown, run) {
      if (!shown.redeliver_after_crash || run.attempt > maxAttempts) return outcomeLost(run, '')
      const outcome = await attempt(shown, run)
      // Only a success of this delivery also decides the first one.
      if (outcome.status === 'success') return { ...outcome, result: { ...outcome.result, redelivered: true } }
      const lost = outcomeLost(run, ` Delivering it again gave ${outcome.error.reason}: ${outcome.error.message}`)
      return outcome.result === undefined ? lost : { ...lost, result: outcome.result }
    },
  }

  /** One delivery, once it is its turn. Throws only what `assertHeld` throws; then nothing was sent. */
  async function attempt(shown: WebhookParams, run: RunHandle): Promise<Outcome> {
    let started: number | undefined
    const outcome = await slots.acquire(run.workspace, run.signal).then(
      async (release) => {
        started = performance.now()
        try {
          return await delivered(shown, run)
        } finally {
          release()
        }
      },
      (error: unknown) => {
        if (error instanceof NoSlot) return noTurn(error, run)
        throw error
      },
    )
    const seconds = started === undefined ? undefined : (performance.now() - started) / 1000
    count?.(outcome.status === 'success' ? 'success' : outcome.error.reason, seconds)
    return outcome
  }

  async function delivered(shown: WebhookParams, run: RunHandle): Promise<DeliveryResult> {
    for (;;) {
      // Awaited here, before a connection that would become too old meanwhile.
      if (!(await held(run, { acts: false }))) return stoppedBefore()
      const came = await tried(shown, run)
      if (came !== 'grown old') return came
    }
  }

  /** `grown old`: nothing was sent, because checking the lease took so long that the connection became too old. */
  async function tried(shown: WebhookParams, run: RunHandle): Promise<DeliveryResult | 'grown old'> {
    const deadline = new AbortController()
    const stop = () => deadline.abort()
    const timer = setTimeout(stop, timeoutMs)
    run.signal.addEventListener('abort', stop)
    if (run.signal.aborted) stop()
    try {
      const keys = await signingKeys(run.workspace, deadline.signal).catch(() => undefined)
      if (keys === undefined) return notSent(new ConnectError('failed', 'the signature key of the workspace is not known now'), run)
      const connection = await network.connect(shown.url ?? '', run.workspace, deadline.signal).catch((error: unknown) => {
        if (error instanceof ConnectError) return error
        throw error
      })
      return connection instanceof ConnectError
        ? notSent(connection, run)
        : await send(connection, signedDelivery(shown, run, keys), run, deadline.signal)
    } finally {
      clearTimeout(timer)
      run.signal.removeEventListener('abort', stop)
    }
  }

  async function send(
    connection: Connection,
    delivery: Delivery,
    run: RunHandle,
    signal: AbortSignal,
  ): Promise<DeliveryResult | 'grown old'> {
    const since = performance.now()
    const goOn = await held(run).catch((error: unknown) => {
      connection.socket.destroy()
      throw error
    })
    const waitedMs = performance.now() - since
    if (!goOn || waitedMs > freshMs || signal.aborted) {
      connection.socket.destroy()
      return goOn && waitedMs > freshMs ? 'grown old' : stoppedBefore()
    }
    try {
      return classifyResponse(await deliver(connection, delivery, { maxResponseBytes, signal }), connection.target.url)
    } catch (error) {
      if (!(error instanceof ExchangeError)) throw error
      const sent = (why: string) =>
        `The request was sent, but ${why}. Whether it took effect is not known: ask the receiver about webhook-id ${run.runId}.`
      switch (error.kind) {
        case 'lost':
          return ended('unknown', 'WEBHOOK_CONNECTION_LOST', sent('no readable answer came back'))
        case 'headers too large':
          return ended('unknown', 'WEBHOOK_HEADERS_TOO_LARGE', sent(`its answer has ${headerLimits}, and is not read`))
        case 'stopped': {
          const why = run.signal.aborted ? 'the run was stopped before an answer came' : `no answer came within ${timeoutMs / 1000} s`
          return ended('unknown', 'WEBHOOK_TIMEOUT', sent(why))
        }
      }
    }
  }

  function signedDelivery({ method, body }: WebhookParams, run: RunHandle, { newest, previous }: ActiveSignatureKeys): Delivery {
    const bytes = bodyBytes(body)
    // One value by inheritance: receivers without a list keep their key until the overlap ends.
    const signature = sign(previous ?? newest, bytes)
    const keys = previous === undefined ? [newest] : [newest, previous]
    return {
      method,
      body: bytes,
      headers: {
        ...(bytes.length === 0 ? {} : { 'content-type': 'application/json' }),
        'user-agent': `Relay/${packageJson.version}`,
        'X-Signature': signature,
        'idempotency-key': run.runId,
        ...standardWebhookHeaders(keys, { id: run.runId, timestampSeconds: Math.floor(now() / 1000), body: bytes }),
      },
    }
  }
}

const invalid = (field: string, description: string) => errors.INVALID_PARAMS({ violations: [{ field: `params.${field}`, description }] })

/** The bytes that are sent and signed. Throws INVALID_PARAMS for values that RFC 8785 cannot write, such as half a surrogate pair. */
function bodyBytes(body: unknown): Uint8Array {
  if (body === undefined) return new Uint8Array()
  try {
    return Buffer.from(canonicalize(body)!, 'utf8')
  } catch {
    throw invalid('body', 'holds text that is not valid Unicode.')
  }
}

/** What a person could misread in the URL. */
function spellingWarnings(sent: string, url: URL): string[] {
  const warnings = []
  if (url.href !== sent && url.href !== `${sent}/`) warnings.push(`The address is read as ${url.href}`)
  if (url.hash !== '') warnings.push('What follows the # is not sent.')
  if (url.protocol === 'http:') warnings.push('The request goes over plain http: it can be read and changed on its way.')
  return warnings
}

/** The result of one delivery. */
type DeliveryResult =
  | Extract<Outcome, { status: 'success' }>
  | (Exclude<Outcome, { status: 'success' }> & { error: { reason: Exclude<DeliveryOutcome, 'success'> } })

function ended<R extends WebhookReason>(status: 'failed' | 'unknown', reason: R, message: string) {
  return { status, error: { reason, message } }
}

/** False if the run's time is up; throws LeaseLostError. */
async function held(run: RunHandle, options?: { acts: boolean }): Promise<boolean> {
  try {
    await run.assertHeld(options)
    return true
  } catch (error) {
    if (error instanceof RunStopped) return false
    throw error
  }
}

const stoppedBefore = () => ended('failed', 'WEBHOOK_TIMEOUT', 'The run was stopped before the request was sent.')

function notSent(error: ConnectError, run: RunHandle): DeliveryResult {
  if (error.kind === 'refused') return ended('failed', 'TARGET_REFUSED', `The target ${error.message} Nothing was sent.`)
  if (run.signal.aborted) return stoppedBefore()
  return ended('failed', 'WEBHOOK_CONNECTION', `Nothing was sent: ${error.message}.`)
}

function noTurn({ why }: NoSlot, run: RunHandle): DeliveryResult {
  if (run.signal.aborted || why === 'stopped') return ended('failed', 'WEBHOOK_TIMEOUT', 'The run was stopped before the request was sent.')
  return ended('failed', 'OUTGOING_BUSY', `Nothing was sent: ${busySentence(why)}`)
}

function classifyResponse({ status, location, text, truncated, unknownCoding }: WebhookResponse, url: URL): DeliveryResult {
  const result = {
    status_code: status,
    response: text,
    ...(truncated ? { response_truncated: true } : {}),
    // The receiver wrote it.
    ...(unknownCoding === undefined ? {} : { response_encoding: shownText(unknownCoding) }),
  }
  if (status < 300) return { status: 'success', result }
  if (status < 400) {
    // A Location may contain a secret in its path or query.
    const origin = location === undefined ? undefined : URL.parse(location, url.href)?.origin
    const where = origin === undefined || origin === 'null' ? 'elsewhere' : `to ${origin.slice(0, 200)}`
    return { ...ended('failed', 'WEBHOOK_REDIRECT', `${status}: the receiver redirects ${where}; redirects are not followed.`), result }
  }
  // Four hundred UTF-16 units hold at least two hundred characters.
  const beginning = Array.from(text.slice(0, 400)).slice(0, 200).join('')
  return { ...ended('failed', 'WEBHOOK_STATUS', beginning === '' ? String(status) : `${status}: ${beginning}`), result }
}

function outcomeLost(run: RunHandle, more: string) {
  const ask = `Ask the receiver whether it has webhook-id ${run.runId}; to send it again, preview it again.`
  return ended('unknown', 'WEBHOOK_OUTCOME_LOST', `A crash or an outage here hides whether the request was delivered. ${ask}${more}`)
}
