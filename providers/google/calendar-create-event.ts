/**
 * `google_calendar.create_event`: https://developers.google.com/workspace/calendar/api/v3/reference/events/insert
 *
 * The event's id is ours, derived from the run's: Google rejects a second event with it, and it can be looked up whatever happened to the
 * response.
 */
import { z } from 'zod'
import type { Adapter } from '../../services/actions/adapter.ts'
import { type CalendarEvent, type EventTime, hasWholeMinutes, offsetOf } from '../../services/actions/adapters/calendar-event.ts'
import { type CalendarOptions, type CreatedEvent, calendarAdapter, link } from '../../services/actions/adapters/calendar.ts'
import { plainName } from '../../services/actions/adapters/plain-text.ts'
import { ApiFailure } from '../../services/actions/adapters/provider-http.ts'
import { googleClient } from './client.ts'
import { readGoogleError } from './errors.ts'

const scope = 'https://www.googleapis.com/auth/calendar.events'
const primary = { calendarId: 'primary' } as const

const response = z.object({ id: plainName(1024), htmlLink: link })

const htmlWarning = 'Google Calendar reads the description as HTML: what looks like tags is not shown as it is written.'

/** `baseUrl` is GOOGLE_API_URL. */
export const googleCalendarAdapter = (options: CalendarOptions): Adapter<CalendarEvent> =>
  calendarAdapter(options, {
    action: 'google_calendar.create_event',
    requires: { provider: 'google', scopes: [scope] },
    readError: readGoogleError,
    description: 'Creates an event in the primary calendar of the connected Google account and invites its attendees.',
    guarantee:
      'At most one event per run: its id is made of the run, so Google rejects a second one, and after a lost response the event is looked up.',
    invites: 'Google sends each of them an invitation by mail.',
    warn: ({ description = '' }) => (/<[a-z/!]|&[a-z#]/i.test(description) ? [htmlWarning] : []),

    async make(event, run, api, point) {
      const json = toGoogle(event, eventIdOf(run.runId))
      const insert = { ...primary, sendUpdates: 'all', requestBody: json }
      const asked = await googleClient('calendar', api).request(run, ({ events }, via) => events.insert(insert, via), {
        effect: true,
        point,
      })
      return toMade(asked.json)
    },

    async find(run, api) {
      try {
        // An event that its owner has deleted since is still found, with the status "cancelled".
        const event = { ...primary, eventId: eventIdOf(run.runId) }
        return toMade((await googleClient('calendar', api).request(run, ({ events }, via) => events.get(event, via))).json)
      } catch (error) {
        if (error instanceof ApiFailure && error.reason === 'PROVIDER_NOT_FOUND') return undefined
        throw error
      }
    },
  })

/** The digits of a UUID are valid in base32hex (0 to 9, a to v), the alphabet of Google's ids. */
export const eventIdOf = (runId: string): string => `run${runId.toLowerCase().replaceAll('-', '')}`

function toMade(json: unknown): CreatedEvent {
  const parsed = response.safeParse(json)
  if (!parsed.success) throw new ApiFailure('unclear', 'PROVIDER_GARBLED', 'google answered with something that is not an event.')
  return { id: parsed.data.id, link: parsed.data.htmlLink }
}

/** The event in Google's format. Where the clocks go back, the offset tells which of two times is meant. */
function toGoogle({ title, description, location, start, end, attendees }: CalendarEvent, id: string) {
  const time = (at: EventTime) =>
    'date' in at ? { date: at.date } : { dateTime: `${seconds(at.date_time)}${offsetText(at)}`, timeZone: at.time_zone }
  return {
    id,
    summary: title,
    ...(description === undefined ? {} : { description }),
    ...(location === undefined ? {} : { location }),
    start: time(start),
    end: time(end),
    attendees: attendees.map(({ address, name }) => ({ email: address, ...(name === undefined ? {} : { displayName: name }) })),
  }
}

/** Before time zones, local time has seconds in its offset, which RFC 3339 cannot express: then the zone's name is sent. */
const offsetText = (at: Exclude<EventTime, { date: string }>) => (hasWholeMinutes(at) ? offsetOf(at) : '')

const seconds = (text: string) => (text.length === 16 ? `${text}:00` : text)
