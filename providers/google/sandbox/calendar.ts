/**
 * Google Calendar's events with ids that the client chooses, which `emulate` lacks.
 * https://developers.google.com/workspace/calendar/api/v3/reference/events
 */
import { randomUUID } from 'node:crypto'
import { apiError, empty, json, objectOf, type SandboxResponse, type SandboxRequest } from '../../../deploy/sandbox/http.ts'

export interface CalendarEvent {
  email: string
  id: string
  createdAt: string
  resource: Record<string, unknown>
}

/** base32hex, 5 to 1024 characters. */
const idPattern = /^[0-9a-v]{5,1024}$/

const newId = (): string => randomUUID().replaceAll('-', '')

export class GoogleCalendar {
  readonly #events = new Map<string, CalendarEvent>()

  list(): CalendarEvent[] {
    return [...this.#events.values()]
  }

  /** The response to requests about events of the primary calendar; undefined for all others. */
  answer(asked: SandboxRequest, email: string): SandboxResponse | undefined {
    const found = /^\/calendar\/v3\/calendars\/([^/]+)\/events(?:\/([^/]+))?$/.exec(asked.url.pathname)
    if (found === null) return undefined
    const calendar = decodeURIComponent(found[1]!)
    if (calendar !== 'primary' && calendar !== email) return apiError('google', 404, 'notFound', 'Not Found')
    const id = found[2]
    if (id === undefined) {
      if (asked.method === 'POST') return this.#insert(asked, email)
      if (asked.method === 'GET') {
        const items = this.list().filter((event) => event.email === email && event.resource.status !== 'cancelled')
        return json(200, { kind: 'calendar#events', items: items.map(({ resource }) => resource) })
      }
      return apiError('google', 404, 'notFound', 'Not Found')
    }
    const event = this.#events.get(`${email} ${id}`)
    if (event === undefined) return apiError('google', 404, 'notFound', 'Not Found')
    if (asked.method === 'GET') return json(200, event.resource)
    if (asked.method !== 'DELETE') return apiError('google', 404, 'notFound', 'Not Found')
    if (event.resource.status === 'cancelled') return apiError('google', 410, 'deleted', 'Resource has been deleted')
    event.resource = { ...event.resource, status: 'cancelled' }
    return empty(204)
  }

  #insert(asked: SandboxRequest, email: string): SandboxResponse {
    const body = objectOf(asked)
    if (body === undefined) return apiError('google', 400, 'parseError', 'Parse Error')
    if (body.start === undefined || body.end === undefined) return apiError('google', 400, 'required', 'Missing end time.')
    const id = body.id ?? newId()
    if (typeof id !== 'string' || !idPattern.test(id)) return apiError('google', 400, 'invalid', 'Invalid resource id value.')
    const key = `${email} ${id}`
    // The id of a deleted event stays taken.
    if (this.#events.has(key)) return apiError('google', 409, 'duplicate', 'The requested identifier already exists.')
    const createdAt = new Date().toISOString()
    const resource = {
      ...body,
      kind: 'calendar#event',
      id,
      status: 'confirmed',
      htmlLink: `${asked.url.origin}/sandbox/inbox#${encodeURIComponent(id)}`,
      created: createdAt,
      updated: createdAt,
      creator: { email, self: true },
      organizer: { email, self: true },
      iCalUID: `${id}@google.com`,
    }
    this.#events.set(key, { email, id, createdAt, resource })
    return json(200, resource)
  }
}
