/**
 * `outlook_calendar.create_event`: https://learn.microsoft.com/graph/api/user-post-events
 *
 * Graph chooses the event's id. Ours are a transaction id, by which Graph recognises a repeated request for a while, and an extended
 * property (https://learn.microsoft.com/graph/api/resources/extended-properties-overview), by which the event is found later.
 */
import { z } from 'zod'
import type { Adapter } from '../../services/actions/adapter.ts'
import { type CalendarEvent, type EventTime, instantOf } from '../../services/actions/adapters/calendar-event.ts'
import { type CalendarOptions, type CreatedEvent, calendarAdapter, link } from '../../services/actions/adapters/calendar.ts'
import { immutableIds, runFilter, runProperty } from './graph-item.ts'
import { formatWall, localInstantOf, parseWall } from '../../services/actions/adapters/local-time.ts'
import { plainName } from '../../services/actions/adapters/plain-text.ts'
import { ApiFailure } from '../../services/actions/adapters/provider-http.ts'
import { readGraphError } from './errors.ts'

const events = '/v1.0/me/events'

const response = z.object({ id: plainName(1024), webLink: link })
const responses = z.object({ value: z.array(response) })

/** `baseUrl` is GRAPH_API_URL. */
export const graphCalendarAdapter = (options: CalendarOptions): Adapter<CalendarEvent> =>
  calendarAdapter(options, {
    action: 'outlook_calendar.create_event',
    requires: { provider: 'microsoft', scopes: ['Calendars.ReadWrite'] },
    readError: readGraphError,
    description: 'Creates an event in the calendar of the connected Microsoft account and invites its attendees.',
    guarantee:
      'At most one event per run: it carries a transactionId made of the run, by which Microsoft recognises a repeat and Relay looks the event up.',
    invites: 'Outlook sends each of them an invitation by mail.',

    async make(event, run, api, point) {
      const { json } = await api.call(run, {
        method: 'POST',
        path: events,
        headers: immutableIds,
        json: toGraph(event, run.runId),
        effect: true,
        point,
      })
      return toMade(read(response, json))
    },

    async find(run, api) {
      const query = { $filter: runFilter(run.runId), $select: 'id,webLink', $top: '1' }
      const { json } = await api.call(run, { method: 'GET', path: events, headers: immutableIds, query })
      const [found] = read(responses, json).value
      return found && toMade(found)
    },
  })

const toMade = ({ id, webLink }: z.output<typeof response>): CreatedEvent => ({ id, link: webLink })

function read<T>(schema: z.ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw new ApiFailure('unclear', 'PROVIDER_GARBLED', 'microsoft answered with something that is not an event.')
  return parsed.data
}

/** The event in Graph's format. */
function toGraph({ title, description, location, start, end, attendees }: CalendarEvent, runId: string) {
  return {
    subject: title,
    ...(description === undefined ? {} : { body: { contentType: 'text', content: description } }),
    ...(location === undefined ? {} : { location: { displayName: location } }),
    start: time(start),
    end: time(end),
    isAllDay: 'date' in start,
    attendees: attendees.map(({ address, name }) => ({
      type: 'required',
      emailAddress: { address, ...(name === undefined ? {} : { name }) },
    })),
    transactionId: runId,
    singleValueExtendedProperties: [runProperty(runId)],
  }
}

/** Graph has no offset to tell which of two times is meant where the clocks go back: that time is sent in UTC. */
function time(at: EventTime) {
  if ('date' in at) return { dateTime: `${at.date}T00:00:00`, timeZone: 'UTC' }
  const wall = parseWall(at.date_time)!
  if (localInstantOf(wall, at.time_zone).kind === 'once') return { dateTime: formatWall(wall), timeZone: at.time_zone }
  return { dateTime: formatWall(instantOf(at)), timeZone: 'UTC' }
}
