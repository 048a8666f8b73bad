/**
 * Making one event in a provider's calendar, once. The provider is asked to make it one time only; what became of that is found out by
 * looking for it, by an id that is made of the run's. Who is invited is told by the provider, once it is there.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import type { Adapter, Outcome, RunHandle } from '../adapter.ts'
import type { Connects } from '../connections.ts'
import { type CalendarEvent, eventParams, eventSummary, eventWarnings, settled } from './calendar-event.ts'
import { plainLine } from './plain-text.ts'
import { ApiFailure, type ApiParts, type ProviderApi, apiReasons, providerApi } from './provider-http.ts'

/** Every reason that an outcome of these adapters may have. */
export const calendarReasons = [
  ...apiReasons,
  'EVENT_NOT_MADE', // failed: a crash came in between, and long after it the event is not there
  'EVENT_OUTCOME_LOST', // unknown: a crash hides whether it was asked for, and it is not there
] as const
type CalendarReason = (typeof calendarReasons)[number]

/** An event that is there. */
export interface CreatedEvent {
  /** The provider's id of it. */
  id: string
  /** Where a person sees it. */
  link: string | undefined
}

/** A link as a provider says it; one that a browser should not follow is left out. */
export const link = z
  .url({ protocol: /^https?$/ })
  .max(4096)
  // The URL parser drops these, and what is stored and shown is what was written.
  .refine((text) => plainLine(4096).safeParse(text).success)
  .optional()
  .catch(undefined)

export interface CalendarParts {
  action: string
  connects: Connects
  description: string
  /** What the preview says of invitations. */
  invites: string
  /** What is particular to this provider in an event. */
  warn?: (event: CalendarEvent) => string[]
  /** Asks for the event, once, with this recovery point; throws as ProviderApi.call does. PROVIDER_CONFLICT where it is there already. */
  make(event: CalendarEvent, run: RunHandle, api: ProviderApi, point: Record<string, unknown>): Promise<CreatedEvent>
  /** The event of this run; undefined where there is none. Throws ApiFailure. */
  find(run: RunHandle, api: ProviderApi): Promise<CreatedEvent | undefined>
}

export interface CalendarOptions extends ApiParts {
  /** How long is waited before each look for an event that may still appear, in milliseconds. */
  pollIntervalMs?: readonly number[]
  /** Milliseconds since the epoch. */
  now?: () => number
}

/** No request is under way any longer that was sent this long ago: neither here nor at the provider. */
const settledAfterMs = 10 * 60_000

export function calendarAdapter(options: CalendarOptions, parts: CalendarParts): Adapter<CalendarEvent> {
  const { connections, pollIntervalMs = [0, 1_000, 3_000, 6_000], now = Date.now, ...rest } = options
  const { action, connects, description, invites, warn = () => [], make, find } = parts
  const api = providerApi({ provider: connects.provider, connections, ...rest })

  return {
    action,
    provider: connects.provider,
    description,
    reasons: calendarReasons,
    params: eventParams,
    connects,
    unavailable: () => connections.unavailable,

    async preview(asked, { connection }) {
      const event = settled(asked)
      return {
        params: { ...event },
        summary: eventSummary(event, connection?.account, invites),
        warnings: [...eventWarnings(asked, connection?.account, now()), ...warn(event)],
      }
    },

    execute: ask,

    async reconcile(event, run) {
      // Whoever had the run before can no longer ask: it would have to make its recovery point first, and that is refused.
      if (run.recovery === undefined) return ask(event, run)
      const { made, failure } = await look(run)
      if (made !== undefined) return success(made)
      const hidden = 'A crash or an outage here hides whether the event was made'
      if (failure !== undefined)
        return ended('unknown', 'EVENT_OUTCOME_LOST', `${hidden}, and it could not be looked for: ${failure.message}`)
      // By the store's clock: that of whoever asked may be another than that of this process.
      if (run.recordedAgoMs !== undefined && run.recordedAgoMs > settledAfterMs) {
        return ended('failed', 'EVENT_NOT_MADE', 'The event was not made: long after a crash here it is not in the calendar.')
      }
      const soon = `It was not in the calendar shortly afterwards: look for "${brief(event)}" there.`
      return ended('unknown', 'EVENT_OUTCOME_LOST', `${hidden}. ${soon}`)
    },
  }

  async function ask(event: CalendarEvent, run: RunHandle): Promise<Outcome> {
    try {
      return success(await make(event, run, api, { asked_at: now() }))
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      const { kind, reason, message } = error
      if (kind !== 'unclear' && reason !== 'PROVIDER_CONFLICT') return ended('failed', reason, `${message} No event was made.`)
      const { made } = await look(run)
      if (made !== undefined) return success(made)
      const doubt = `Whether the event was made is not known: look for "${brief(event)}" in the calendar.`
      return ended('unknown', reason, `${message} ${doubt}`)
    }
  }

  /** Looks until it is there or the patience is over; `failure` where the last look saw nothing. */
  async function look(run: RunHandle): Promise<{ made?: CreatedEvent | undefined; failure?: ApiFailure | undefined }> {
    let failure: ApiFailure | undefined
    for (const waitMs of pollIntervalMs) {
      // A run whose time is up looks no more.
      await pause(waitMs, undefined, { signal: run.signal }).catch(() => undefined)
      try {
        const made = await find(run, api)
        if (made !== undefined) return { made }
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

const success = ({ id, link }: CreatedEvent): Outcome => ({
  status: 'success',
  result: { event_id: id, ...(link === undefined ? {} : { link }) },
})

const ended = (status: 'failed' | 'unknown', reason: CalendarReason, message: string): Outcome => ({ status, error: { reason, message } })

const brief = ({ title }: CalendarEvent) => Array.from(title).slice(0, 80).join('')
