import type { ApiFacet } from '../api.ts'
import { googleCalendarAdapter } from './calendar-create-event.ts'
import { googleMailAdapter } from './gmail-send-email.ts'

export const api: ApiFacet = {
  baseUrl: { variable: 'GOOGLE_API_URL', doc: "Where Google's APIs are", default: 'https://www.googleapis.com' },
  actions: [googleMailAdapter, googleCalendarAdapter],
}
