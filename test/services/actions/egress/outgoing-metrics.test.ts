/** What is counted of requests to the outside: each once, under labels that no other side can choose. */
import { expect, test } from 'vitest'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { parseExposition } from '../../../../gate/exposition.ts'
import { providerApi } from '../../../../services/actions/adapters/provider-http.ts'
import { LeaseLostError } from '../../../../services/actions/runs/lease.ts'
import { outgoingMetrics } from '../../../../services/actions/metrics.ts'
import { type ReceiverResponse, startReceiver } from '../../../fakes/receiver.ts'
import { closing, run, stored } from '../adapter-harness.ts'
import { adapter, receive } from '../webhook-harness.ts'

function counting() {
  const metrics = new Metrics('tested')
  const read = async (name: string, label: string) => {
    const series = parseExposition((await metrics.scrape(undefined)).body).filter((each) => each.name === name && each.value > 0)
    return Object.fromEntries(series.map(({ labels, value }) => [labels[label], value]))
  }
  return { ...outgoingMetrics(metrics), read }
}

test.each<[string, ReceiverResponse, string]>([
  ['taken', { status: 204 }, 'success'],
  ['redirected', { status: 302 }, 'WEBHOOK_REDIRECT'],
  ['refused, in whatever words', { status: 999, body: 'a"b\nc{d="e"} 1' }, 'WEBHOOK_STATUS'],
  ['cut off', { drop: 'before' }, 'WEBHOOK_CONNECTION_LOST'],
])('a delivery that is %s is counted once, by what came of it', async (_, response, outcome) => {
  const { delivery, read } = counting()
  const receiver = await receive({ respond: () => response })
  const webhook = adapter({ count: delivery })
  await webhook.execute(await stored(webhook, { url: receiver.url }), run())
  expect(await read('webhook_attempts_total', 'outcome')).toEqual({ [outcome]: 1 })
  expect(await read('webhook_attempt_seconds_count', 'service')).toEqual({ tested: 1 })
})

test('a delivery without a connection is counted, one that another owner must make is not', async () => {
  const { delivery, read } = counting()
  const webhook = adapter({ count: delivery })
  await webhook.execute(await stored(webhook, { url: 'http://127.0.0.1:1/' }), run())
  const receiver = await receive()
  const lost = async () => {
    throw new LeaseLostError()
  }
  const shown = await stored(webhook, { url: receiver.url })
  await expect(webhook.execute(shown, run({ assertHeld: lost }))).rejects.toThrow(LeaseLostError)
  // A crash hides what came of it, and nobody asked for another.
  await webhook.reconcile(shown, run({ attempt: 2 }))
  expect(await read('webhook_attempts_total', 'outcome')).toEqual({ WEBHOOK_CONNECTION: 1 })
})

test.each<[string, ReceiverResponse, object]>([
  ['201', { status: 201, body: '{}' }, { '2xx': 1 }],
  ['200 and no JSON', { body: '<' }, { '2xx': 1 }],
  ['404', { status: 404 }, { '4xx': 1 }],
  ['600', { status: 600 }, { other: 1 }],
  ['999', { status: 999 }, { other: 1 }],
  ['no answer', { drop: 'before' }, { none: 1 }],
  ['503, asked again as what reads is', { status: 503 }, { '5xx': 3 }],
])('requests to a provider are counted by the class of their status: %s', async (name, response, counted) => {
  const { request, read } = counting()
  const receiver = closing(await startReceiver({ respond: () => response }))
  const connections = { find: () => Promise.reject(new Error('nobody asks')), token: async () => ({ accessToken: 't', scopes: [] }) }
  const api = providerApi({
    provider: 'google',
    readError: () => undefined,
    baseUrl: new URL(receiver.url),
    connections,
    retryMs: 1,
    count: request,
  })
  const method = name.startsWith('503') ? 'GET' : 'POST'
  await api.call(run({ connectionId: 'c' }), { method, path: '/things' }).catch(() => undefined)
  expect(await read('provider_requests_total', 'status_class')).toEqual(counted)
  expect(await read('provider_request_seconds_count', 'provider')).toEqual({ google: receiver.deliveries.length })
})
