/** The actions that there are. */
import type { Adapter } from '../adapter.ts'
import type { Connections } from '../connections.ts'
import { googleCalendarAdapter } from './google-calendar.ts'
import { googleMailAdapter } from './google-mail.ts'
import { graphCalendarAdapter } from './graph-calendar.ts'
import { graphMailAdapter } from './graph-mail.ts'
import type { CountRequest } from './provider-http.ts'
import { type WebhookOptions, webhookAdapter } from './webhook.ts'

export interface OfferedParts {
  webhook: WebhookOptions
  connections: Connections
  /** Where the providers' APIs are. */
  urls: { google: URL; graph: URL }
  /** For one request to a provider. */
  timeoutMs: number
  /** What is told of each delivery and each request. */
  counts: { delivery: NonNullable<WebhookOptions['count']>; request: CountRequest }
}

// oxlint-disable-next-line typescript/no-explicit-any -- adapters of whatever parameters, as the catalog takes them
export function offered({ webhook, connections, urls, timeoutMs, counts }: OfferedParts): Adapter<any>[] {
  const google = { connections, baseUrl: urls.google, timeoutMs, count: counts.request }
  const graph = { connections, baseUrl: urls.graph, timeoutMs, count: counts.request }
  return [
    webhookAdapter({ ...webhook, count: counts.delivery }),
    googleMailAdapter(google),
    googleCalendarAdapter(google),
    graphMailAdapter(graph),
    graphCalendarAdapter(graph),
  ]
}
