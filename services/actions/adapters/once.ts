/**
 * Creating one thing at a provider, once: an event, a message, an issue. The provider is asked to create it one time only; what became of
 * that is found out by looking for it, by something of the run that the provider keeps with it.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Adapter, Outcome, RunHandle } from '../adapter.ts'
import type { AccountRequirement } from '../connections.ts'
import { ApiFailure, type ApiOptions, type ApiParts, type ProviderApi, apiReasons, providerApi } from './provider-http.ts'

/** What it is called in sentences: "The event was not made: … it is not in the calendar." */
export interface ThingWords {
  readonly thing: string
  readonly made: string
  readonly place: string
}

/** The reasons of an outcome beside those of a failed call. */
export interface OnceReasons {
  /** `failed`: a crash came in between, and long after it the thing is not there. */
  readonly notMade: string
  /** `unknown`: a crash hides whether it was asked for, and it is not there. */
  readonly lost: string
}

export interface OnceOptions extends ApiParts {
  /** How long is waited before each look for what may still appear, in milliseconds. */
  pollIntervalMs?: readonly number[]
  /** Milliseconds since the epoch. */
  now?: () => number
}

export interface OnceParts<Params>
  extends
    Pick<Adapter<Params>, 'action' | 'description' | 'params' | 'guarantee' | 'preview'>,
    Pick<ApiOptions, 'readError' | 'readRefusal'> {
  requires: AccountRequirement
  words: ThingWords
  reasons: OnceReasons
  /** What a person looks for, in a few words. */
  brief(params: Params): string
  /** Asks for it, once, with this recovery point; throws as ProviderApi.call does. PROVIDER_CONFLICT where it is there already. */
  create(params: Params, run: RunHandle, api: ProviderApi, point: Record<string, unknown>): Promise<Record<string, unknown>>
  /** The result of this run, if it is there; undefined where it is not. Throws ApiFailure. */
  find(params: Params, run: RunHandle, api: ProviderApi): Promise<Record<string, unknown> | undefined>
}

/** No request is in flight any longer that was sent this long ago: neither here nor at the provider. */
const settledAfterMs = 10 * 60_000

export function onceAdapter<Params>(options: OnceOptions, parts: OnceParts<Params>): Adapter<Params> {
  const { connections, pollIntervalMs = [0, 1_000, 3_000, 6_000], now = Date.now, ...rest } = options
  const { action, requires, readError, readRefusal, description, guarantee, params, preview, words, reasons, brief, create, find } = parts
  const { thing, made, place } = words
  const api = providerApi({ provider: requires.provider, readError, readRefusal, connections, ...rest })

  return {
    action,
    provider: requires.provider,
    description,
    guarantee,
    reasons: [...apiReasons, reasons.notMade, reasons.lost],
    params,
    requires,
    unavailable: () => connections.unavailable,
    preview,
    execute: ask,

    async reconcile(its, run) {
      // Whoever had the run before can no longer ask: it would have to make its recovery point first, and that is refused.
      if (run.recovery === undefined) return ask(its, run)
      const { result, failure } = await look(its, run)
      if (result !== undefined) return { status: 'success', result }
      const hidden = `A crash or an outage here hides whether the ${thing} was ${made}`
      if (failure !== undefined) return ended('unknown', reasons.lost, `${hidden}, and it could not be looked for: ${failure.message}`)
      // By the store's clock: that of whoever asked may be another than that of this process.
      if (run.recordedAgoMs !== undefined && run.recordedAgoMs > settledAfterMs) {
        return ended('failed', reasons.notMade, `The ${thing} was not ${made}: long after a crash here it is not ${place}.`)
      }
      return ended('unknown', reasons.lost, `${hidden}. It was not ${place} shortly afterwards: look for "${brief(its)}" there.`)
    },
  }

  async function ask(its: Params, run: RunHandle): Promise<Outcome> {
    try {
      return { status: 'success', result: await create(its, run, api, { asked_at: now() }) }
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      const { kind, reason, message } = error
      if (kind !== 'unclear' && reason !== 'PROVIDER_CONFLICT') return ended('failed', reason, `${message} No ${thing} was ${made}.`)
      const { result } = await look(its, run)
      if (result !== undefined) return { status: 'success', result }
      return ended('unknown', reason, `${message} Whether the ${thing} was ${made} is not known: look for "${brief(its)}" ${place}.`)
    }
  }

  /** Looks until it is there or the time is over; `failure` where the last look saw nothing. */
  async function look(
    its: Params,
    run: RunHandle,
  ): Promise<{ result?: Record<string, unknown> | undefined; failure?: ApiFailure | undefined }> {
    let failure: ApiFailure | undefined
    for (const waitMs of pollIntervalMs) {
      // A run whose time is up looks no more.
      await pause(waitMs, undefined, { signal: run.signal }).catch(() => undefined)
      try {
        const result = await find(its, run, api)
        if (result !== undefined) return { result }
        failure = undefined
      } catch (error) {
        if (!(error instanceof ApiFailure)) throw error
        failure = error
      }
      if (run.signal.aborted) break
    }
    return { failure }
  }
}

const ended = (status: 'failed' | 'unknown', reason: string, message: string): Outcome => ({ status, error: { reason, message } })

/** The beginning of a text, for a sentence. */
export const beginningOf = (text: string, length = 80): string => Array.from(text).slice(0, length).join('')
