/** The actions that there are. */
import { FairSlots, type OnTurn } from '#mesh/fair-slots.ts'
import { NameResolver, type OnLookup, lookupLimits } from '#mesh/outgoing/resolver.ts'
import type { Adapter } from '../adapter.ts'
import type { Connections } from '../connections.ts'
import { googleCalendarAdapter } from './google-calendar.ts'
import { googleMailAdapter } from './google-mail.ts'
import { graphCalendarAdapter } from './graph-calendar.ts'
import { graphMailAdapter } from './graph-mail.ts'
import type { CountRequest } from './provider-http.ts'
import { type Queue, deliverySlots, providerSlots } from './slots.ts'
import { type WebhookOptions, webhookAdapter } from './webhook.ts'

export interface OfferedParts {
  webhook: WebhookOptions
  connections: Connections
  /** Where the providers' APIs are. */
  urls: { google: URL; graph: URL }
  /** For one request to a provider. */
  timeoutMs: number
  /** How many deliveries, and requests to each provider, are under way at once. */
  concurrency: { deliveries: number; providerRequests: number }
  /** What is told of each delivery, request, turn and look-up. */
  counts: OutgoingCounts
}

export interface OutgoingCounts {
  delivery: NonNullable<WebhookOptions['count']>
  request: CountRequest
  onLookup: OnLookup
  /** For the turns of one queue. */
  onTurn: (queue: Queue) => OnTurn
  /** Its slots are looked at at each scrape. */
  watch: (queue: Queue, slots: FairSlots) => FairSlots
}

// oxlint-disable-next-line typescript/no-explicit-any -- adapters of whatever parameters, as the catalog takes them
export function offered({ webhook, connections, urls, timeoutMs, concurrency, counts }: OfferedParts): Adapter<any>[] {
  const { watch, onTurn, onLookup } = counts
  // One resolver for all that leaves here, and the slots of a provider for all of its adapters.
  const { lookup } = new NameResolver({ onLookup, slots: watch('dns', new FairSlots(lookupLimits, onTurn('dns'))) })
  const parts = { connections, timeoutMs, count: counts.request, lookup }
  const slotsOf = (queue: 'google' | 'microsoft') =>
    watch(queue, providerSlots({ max: concurrency.providerRequests, timeoutMs, onTurn: onTurn(queue) }))
  const google = { ...parts, baseUrl: urls.google, slots: slotsOf('google') }
  const graph = { ...parts, baseUrl: urls.graph, slots: slotsOf('microsoft') }
  const slots = watch(
    'webhook',
    deliverySlots({ max: concurrency.deliveries, timeoutMs: webhook.timeoutMs ?? 10_000, onTurn: onTurn('webhook') }),
  )
  return [
    webhookAdapter({ ...webhook, count: counts.delivery, lookup, slots }),
    googleMailAdapter(google),
    googleCalendarAdapter(google),
    graphMailAdapter(graph),
    graphCalendarAdapter(graph),
  ]
}
