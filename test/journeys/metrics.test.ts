/** What the processes of a mesh measure: the list that dashboards, alerts and docs/metrics.md rest on, and that scrapers understand it. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseExposition } from '../../gate/exposition.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { expectGolden } from '../golden/golden.ts'
import { sharedRedis } from '../setup/redis.ts'
import { type Journey, journey, until } from './journey.ts'
import { sandboxOf } from './sandbox.ts'
import { needs } from '../setup/needs.ts'

let harness: Journey
let receiver: Receiver
/** Every series of every process before it had anything to do. */
let atStart: ReadonlySet<string>
beforeAll(async () => {
  receiver = await startReceiver()
  // Nobody listens there: spans are recorded, and lost.
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', RELAY_COMMIT: 'abc1234' }
  harness = await journey({ sandbox: true, redisUrl: (await sharedRedis()).url, env })
  atStart = await allSeries()
  await traffic()
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
})

/** Whatever begins to be counted with its first event alone happens once. */
async function traffic(): Promise<void> {
  const { api, mesh } = harness
  const sandbox = sandboxOf(harness)
  await api.list()
  const webhooks = [receiver.url, 'http://127.0.0.1:1/']
  await Promise.all(webhooks.map(async (url) => api.execute(await api.previewId(url))))
  await sandbox.connect('google')
  await sandbox.tokens('expire')
  const mail = { action: 'gmail.send_email', params: { to: ['ada@example.com'], subject: 'Hi', text: 'Hi' } }
  const preview = await api.call('POST', '/actions/preview', { body: mail })
  const executed = await api.execute(preview.body.preview_id as string)
  expect(executed.body, executed.text).toMatchObject({ status: 'success' })
  const socket = connect(Number(new URL(mesh.gateway).port), '127.0.0.1')
  await once(socket.end('nonsense\r\n\r\n').resume(), 'close')
}

const openMetrics = 'application/openmetrics-text;version=1.0.0'

async function scrape(address: string, accept: string, apiKey?: string): Promise<{ type: string | null; text: string }> {
  const headers = { accept, ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }) }
  const response = await fetch(`http://${address}/metrics`, { headers })
  return { type: response.headers.get('content-type'), text: await response.text() }
}

const processes = (): [name: string, admin: string][] => [
  ['gateway', harness.mesh.gatewayAdmin],
  ...Object.entries(harness.mesh.services).map(([name, { admin }]): [string, string] => [name, admin]),
]

/** `name type {labels}` of each; the labels without the one that every metric has. */
function metricsIn(service: string, text: string): string[] {
  const series = parseExposition(text)
  return [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => {
    const its = series.filter((each) => each.name === (type === 'histogram' ? `${name}_count` : name))
    const pairs = its.flatMap((each) => Object.entries(each.labels)).filter(([label, value]) => label !== 'service' || value !== service)
    const labels = new Set(pairs.map(([label]) => label))
    return `${name} ${type} {${its.length === 0 ? (rare.get(name!) ?? notSeen) : [...labels].toSorted().join(',')}}`
  })
}
const notSeen = 'no series yet'
/** The labels of one that has a series only now and then. */
const rare = new Map([['nodejs_active_requests', 'type']])

/** Where all processes have one, it stands once. */
function listed(found: ReadonlyMap<string, readonly string[]>): string[] {
  const everywhere = (metric: string) => [...found.values()].every((metrics) => metrics.includes(metric))
  const lines = [...found].flatMap(([name, metrics]) => metrics.map((metric) => `${everywhere(metric) ? 'every-process' : name} ${metric}`))
  return [...new Set(lines)].toSorted()
}

test('every metric of every process, with its type and its labels, is in the list', async () => {
  const metricsOf = async ([name, admin]: [string, string]) => [name, metricsIn(name, (await scrape(admin, 'text/plain')).text)] as const
  const list = async () => listed(new Map(await Promise.all(processes().map(metricsOf))))
  // Some are only counted a moment later: spans when they could not be sent, events when the audit log has taken them.
  await until(
    async () => (await list()).filter((line) => line.includes(notSeen)),
    (without) => without.length === 0,
  )
  expectGolden('metrics.txt', `${(await list()).join('\n')}\n`)
})

/** A series as its metric, its process and its labels say it; what Node and the process themselves have is not ours. */
async function allSeries(): Promise<ReadonlySet<string>> {
  const texts = await Promise.all(processes().map(async ([name, admin]) => [name, (await scrape(admin, 'text/plain')).text] as const))
  const lines = texts.flatMap(([name, text]) =>
    parseExposition(text).map((series) => `${name}: ${series.name} ${JSON.stringify(series.labels)}`),
  )
  return new Set(lines.filter((line) => !/: (?:nodejs|process)_/.test(line)))
}

test('a series of a closed set of labels is there from the start: no first event hides itself, no gauge waits to be more than 0', async () => {
  const begun = [...(await allSeries())].filter((series) => !atStart.has(series))
  // What a client does wrong has a status of its own, and is no alert's business.
  expect(begun.filter((series) => !/: http_requests_total .*"status_code":"(?:2(?!00)|3|4)\d\d"/.test(series))).toEqual([])
})

test('the gateway shows the metrics of its admin port to a key with metrics:read, and to no one without one', async () => {
  const { host } = new URL(harness.mesh.gateway)
  expect((await scrape(host, openMetrics)).text).not.toContain('relay_build_info')
  const [open, plain] = [await scrape(host, openMetrics, harness.mesh.apiKey), await scrape(host, '*/*', harness.mesh.apiKey)]
  expect(open.type).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
  expect(plain.type).toBe('text/plain; version=0.0.4; charset=utf-8')
  expect(plain.text).toContain('relay_build_info{')
  expect(plain.text).toMatch(/commit="abc1234"/)
})

test('the buckets that a request fell into name its trace, at the gateway and at the services behind it', async () => {
  const tracesIn = async (admin: string, histogram: string, label: string) => {
    const { text } = await scrape(admin, openMetrics)
    const lines = text.split('\n').filter((line) => line.startsWith(`${histogram}_bucket{`) && line.includes(label))
    return lines.flatMap((line) => / # \{trace_id="([0-9a-f]{32})"\} \d/.exec(line)?.[1] ?? [])
  }
  const { actions } = harness.mesh.services
  const [atGateway, atService, ofRuns] = await Promise.all([
    tracesIn(harness.mesh.gatewayAdmin, 'http_request_duration_seconds', 'endpoint="/actions/execute"'),
    tracesIn(actions!.admin, 'grpc_server_handling_seconds', 'grpc_method="ExecuteAction"'),
    tracesIn(actions!.admin, 'action_latency_seconds', 'action="gmail.send_email"'),
  ])
  // The mail was executed last: no other request can have taken its places.
  expect(ofRuns).toHaveLength(1)
  expect(atGateway).toContain(ofRuns[0])
  expect(atService).toContain(ofRuns[0])
})

test('promtool understands each, and has nothing against our names', needs('promtool'), async () => {
  for (const [name, admin] of processes()) {
    const { text } = await scrape(admin, 'text/plain')
    const { stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
    expect(
      stderr.split('\n').filter((line) => line !== '' && !/^(?:nodejs|process)_/.test(line)),
      name,
    ).toEqual([])
  }
})
