import type { ApiFacet } from '../api.ts'
import { graphCalendarAdapter } from './outlook-create-event.ts'
import { graphMailAdapter } from './outlook-send-email.ts'

export const api: ApiFacet = {
  baseUrl: { variable: 'GRAPH_API_URL', doc: 'Where Microsoft Graph is', default: 'https://graph.microsoft.com' },
  actions: [graphMailAdapter, graphCalendarAdapter],
}
