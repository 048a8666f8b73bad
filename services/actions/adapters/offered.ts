/** The actions that there are. */
import type { Adapter } from '../adapter.ts'
import type { Connections } from '../connections.ts'
import { googleCalendarAdapter } from './google-calendar.ts'
import { googleMailAdapter } from './google-mail.ts'
import { graphCalendarAdapter } from './graph-calendar.ts'
import { graphMailAdapter } from './graph-mail.ts'
import { type WebhookOptions, webhookAdapter } from './webhook.ts'

export interface OfferedParts {
  webhook: WebhookOptions
  connections: Connections
  /** Where the providers' APIs are. */
  urls: { google: URL; graph: URL }
  /** For one request to a provider. */
  timeoutMs: number
}

// oxlint-disable-next-line typescript/no-explicit-any -- adapters of whatever parameters, as the catalog takes them
export function offered({ webhook, connections, urls, timeoutMs }: OfferedParts): Adapter<any>[] {
  const google = { connections, baseUrl: urls.google, timeoutMs }
  const graph = { connections, baseUrl: urls.graph, timeoutMs }
  return [webhookAdapter(webhook), googleMailAdapter(google), googleCalendarAdapter(google), graphMailAdapter(graph), graphCalendarAdapter(graph)]
}
