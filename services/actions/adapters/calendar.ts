/** Creates one event in a provider's calendar, once (once.ts). The provider notifies the attendees when it exists. */
import { z } from 'zod'
import type { Adapter, RunHandle } from '../adapter.ts'
import type { AccountRequirement } from '../connections.ts'
import { type CalendarEvent, eventParams, eventSummary, eventWarnings, settled } from './calendar-event.ts'
import { type OnceOptions, beginningOf, onceAdapter } from './once.ts'
import { plainLine } from './plain-text.ts'
import type { ErrorReader, ProviderApi } from './provider-http.ts'

/** An existing event. */
export interface CreatedEvent {
  /** The provider's id of it. */
  id: string
  /** The URL where a person sees it. */
  link: string | undefined
}

/** A link from a provider; undefined if a browser should not follow it. */
export const link = z
  .url({ protocol: /^https?$/ })
  .max(4096)
  // The URL parser drops these, and what is stored and shown is what was written.
  .refine((text) => plainLine(4096).safeParse(text).success)
  .optional()
  .catch(undefined)

export interface CalendarParts {
  action: string
  requires: AccountRequirement
  readError: ErrorReader
  description: string
  guarantee: string
  /** What the preview says about invitations. */
  invites: string
  /** What is particular to this provider in an event. */
  warn?: (event: CalendarEvent) => string[]
  /** Requests the event, once, with this recovery point; throws as ProviderApi.call does. PROVIDER_CONFLICT if it exists already. */
  make(event: CalendarEvent, run: RunHandle, api: ProviderApi, point: Record<string, unknown>): Promise<CreatedEvent>
  /** The event of this run; undefined if there is none. Throws ApiFailure. */
  find(run: RunHandle, api: ProviderApi): Promise<CreatedEvent | undefined>
}

export type CalendarOptions = OnceOptions

export function calendarAdapter(options: CalendarOptions, parts: CalendarParts): Adapter<CalendarEvent> {
  const { now = Date.now } = options
  const { action, requires, readError, description, guarantee, invites, warn = () => [], make, find } = parts
  return onceAdapter(options, {
    action,
    requires,
    readError,
    description,
    guarantee,
    params: eventParams,
    words: { thing: 'event', made: 'made', place: 'in the calendar' },
    reasons: { notMade: 'EVENT_NOT_MADE', lost: 'EVENT_OUTCOME_LOST' },
    brief: ({ title }) => beginningOf(title),

    async preview(asked, { connection }) {
      const event = settled(asked)
      return {
        params: { ...event },
        summary: eventSummary(event, connection?.account, invites),
        warnings: [...eventWarnings(asked, connection?.account, now()), ...warn(event)],
      }
    },

    create: async (event, run, api, point) => resultOf(await make(event, run, api, point)),

    async find(_, run, api) {
      const made = await find(run, api)
      return made && resultOf(made)
    },
  })
}

const resultOf = ({ id, link }: CreatedEvent) => ({ event_id: id, ...(link === undefined ? {} : { link }) })
