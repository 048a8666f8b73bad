/** Google Calendar v3 as far as one event is made and read, stricter than the real one: it refuses what it does not know. */
import { type ProviderApi, type Reply, startProviderApi, unknownNames } from './provider-api.ts'

export interface GoogleEvent {
  id: string
  status: 'confirmed' | 'cancelled'
  summary: string
  description?: string
  location?: string
  start: GoogleTime
  end: GoogleTime
  attendees?: { email: string; displayName?: string }[]
  extendedProperties?: { private?: Record<string, string> }
  htmlLink: string
}

export type GoogleTime = { date: string } | { dateTime: string; timeZone: string }

export interface GoogleCalendar extends ProviderApi {
  readonly events: Map<string, GoogleEvent>
  /** Addresses, as often as an invitation went out. */
  readonly invitations: string[]
}

export async function startGoogleCalendar(options: { tokens?: readonly string[] } = {}): Promise<GoogleCalendar> {
  const events = new Map<string, GoogleEvent>()
  const invitations: string[] = []
  const problem = (status: number, reason: string) => ({
    error: { code: status, message: `Refused: ${reason}`, errors: [{ domain: 'global', reason, message: `Refused: ${reason}` }] },
  })
  const refuse = (status: number, reason: string): Reply => ({ status, body: problem(status, reason) })

  const insert = (body: unknown, query: URLSearchParams): Reply => {
    const known = ['id', 'summary', 'description', 'location', 'start', 'end', 'attendees', 'extendedProperties']
    const unknown = unknownNames(body, known)
    if (unknown.length > 0) return refuse(400, `badRequest ${unknown.join()}`)
    const event = body as GoogleEvent
    if (!/^[a-v0-9]{5,1024}$/.test(event.id)) return refuse(400, 'invalid')
    if (!isTime(event.start) || !isTime(event.end)) return refuse(400, 'required')
    if (events.has(event.id)) return refuse(409, 'duplicate')
    if (query.get('sendUpdates') === 'all') invitations.push(...(event.attendees ?? []).map(({ email }) => email))
    const made: GoogleEvent = { ...event, status: 'confirmed', htmlLink: `https://calendar.google.com/event?eid=${event.id}` }
    events.set(event.id, made)
    return { status: 200, body: made }
  }

  const api = await startProviderApi({
    ...options,
    problem,
    routes: [
      {
        name: 'insert',
        method: 'POST',
        path: /^\/calendar\/v3\/calendars\/primary\/events$/,
        handle: ({ body, query }) => insert(body, query),
      },
      {
        name: 'get',
        method: 'GET',
        path: /^\/calendar\/v3\/calendars\/primary\/events\/([^/]+)$/,
        handle: (_call, id = '') => (events.has(id) ? { status: 200, body: events.get(id) } : refuse(404, 'notFound')),
      },
    ],
  })
  return Object.assign(api, { events, invitations })
}

function isTime(time: unknown): boolean {
  if (time === null || typeof time !== 'object') return false
  const { date, dateTime, timeZone, ...rest } = time as Record<string, unknown>
  if (Object.keys(rest).length > 0) return false
  if (typeof date === 'string') return dateTime === undefined && timeZone === undefined && /^\d{4}-\d\d-\d\d$/.test(date)
  if (typeof dateTime !== 'string' || typeof timeZone !== 'string') return false
  // "A time zone offset is required unless a time zone is explicitly specified in timeZone."
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?$/.test(dateTime)
}
