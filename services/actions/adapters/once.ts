/**
 * Creates one thing at a provider, once: an event, a message, an issue. It requests the creation only one time. What happened to it is
 * found by looking for it, by a mark of the run that the provider stores with it.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Adapter, Outcome, RunHandle } from '../adapter.ts'
import type { AccountRequirement } from '../connections.ts'
import { ApiFailure, type ApiOptions, type ApiParts, type ProviderApi, apiReasons, providerApi } from './provider-http.ts'

/** Its name in sentences: "The event was not made: … it is not in the calendar." */
export interface ThingWords {
  readonly thing: string
  readonly made: string
  readonly place: string
}

/** The reasons of an outcome beside those of a failed call. */
export interface OnceReasons {
  /** `failed`: after a crash, and long after, the thing does not exist. */
  readonly notMade: string
  /** `unknown`: a crash hides whether it was requested, and it does not exist. */
  readonly lost: string
}

export interface OnceOptions extends ApiParts {
  /** The waits before each look-up of what may still appear, in milliseconds. */
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
  /** Requests it, once, with this recovery point; throws as ProviderApi.call does. PROVIDER_CONFLICT if it exists already. */
  create(params: Params, run: RunHandle, api: ProviderApi, point: Record<string, unknown>): Promise<Record<string, unknown>>
  /** The result of this run, if it exists; undefined if not. Throws ApiFailure. */
  find(params: Params, run: RunHandle, api: ProviderApi): Promise<Record<string, unknown> | undefined>
}

/** A request that was sent this long ago is no longer in flight, neither here nor at the provider. */
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
      // An earlier owner of the run can no longer request it: it would have to record its recovery point first, and that is rejected.
      if (run.recovery === undefined) return ask(its, run)
      const { result, failure } = await look(its, run)
      if (result !== undefined) return { status: 'success', result }
      const hidden = `A crash or an outage here hides whether the ${thing} was ${made}`
      if (failure !== undefined) return ended('unknown', reasons.lost, `${hidden}, and it could not be looked for: ${failure.message}`)
      // By the store's clock: the earlier owner's clock may differ from this process's.
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

  /** Looks until it exists or the time is over; `failure` if the last look-up failed. */
  async function look(
    its: Params,
    run: RunHandle,
  ): Promise<{ result?: Record<string, unknown> | undefined; failure?: ApiFailure | undefined }> {
    let failure: ApiFailure | undefined
    for (const waitMs of pollIntervalMs) {
      // A run whose time is up does not look again.
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
