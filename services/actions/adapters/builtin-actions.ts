/** The built-in actions: the webhook, and those of providers/. */
import type { ApiFacet } from '#providers/api.ts'
import type { ProviderName } from '#providers/list.ts'
import { FairSlots, type OnTurn } from '#mesh/fair-slots.ts'
import { NameResolver, type OnLookup, lookupLimits } from '#mesh/outgoing/resolver.ts'
import type { Adapter } from '../adapter.ts'
import type { Connections } from '../connections.ts'
import type { CountRequest } from './provider-http.ts'
import { type Queue, deliverySlots, providerSlots } from './slots.ts'
import { type WebhookOptions, webhookAdapter } from './webhook.ts'

export interface BuiltinParts {
  webhook: WebhookOptions
  connections: Connections
  /** The providers, and the URLs of their APIs. */
  apis: readonly { name: ProviderName; url: URL; actions: ApiFacet['actions'] }[]
  /** For one request to a provider. */
  timeoutMs: number
  /** Maximum deliveries, and requests to each provider, in flight at once. */
  concurrency: { deliveries: number; providerRequests: number }
  /** Counters of deliveries, requests, turns and look-ups. */
  counts: OutgoingCounts
}

export interface OutgoingCounts {
  delivery: NonNullable<WebhookOptions['count']>
  request: CountRequest
  onLookup: OnLookup
  /** For the turns of one queue. */
  onTurn: (queue: Queue) => OnTurn
  /** Its slots are read at each scrape. */
  watch: (queue: Queue, slots: FairSlots) => FairSlots
}

// oxlint-disable-next-line typescript/no-explicit-any -- adapters of any parameters, as the catalog takes them
export function builtinActions({ webhook, connections, apis, timeoutMs, concurrency, counts }: BuiltinParts): Adapter<any>[] {
  const { watch, onTurn, onLookup } = counts
  // One resolver for all outgoing requests, and one set of slots per provider for all of its actions.
  const { lookup } = new NameResolver({ onLookup, slots: watch('dns', new FairSlots(lookupLimits, onTurn('dns'))) })
  const { deliveries, providerRequests } = concurrency
  const deliveryOptions = { max: deliveries, timeoutMs: webhook.timeoutMs ?? 10_000, onTurn: onTurn('webhook') }
  const slots = watch('webhook', deliverySlots(deliveryOptions))
  const ofProviders = apis.flatMap(({ name, url, actions }) => {
    const slots = watch(name, providerSlots({ max: providerRequests, timeoutMs, onTurn: onTurn(name) }))
    return actions.map((action) => action({ connections, timeoutMs, count: counts.request, lookup, baseUrl: url, slots }))
  })
  return [webhookAdapter({ ...webhook, count: counts.delivery, lookup, slots }), ...ofProviders]
}
