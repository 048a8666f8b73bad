/** Every request can be followed: one trace through the whole mesh, and its log lines, from the link that the answer carries. */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { secretsFile } from '../../deploy/local/state/state-dir.ts'
import { type Redis, startRedis } from '../../deploy/local/redis.ts'
import { ActionsServiceService } from '#gen/relay/actions/v1/actions.ts'
import type { PeerToken } from '#mesh/grpc/caller.ts'
import { methodsOf } from '#mesh/grpc/client.ts'
import { parseTraceparent } from '#mesh/telemetry/trace-context.ts'
import { consent, continueFrom } from '../deploy/consent.ts'
import { type OtlpReceiver, startOtlpReceiver } from '../fakes/otlp-receiver.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { expectGolden } from '../golden/golden.ts'
import { sharedPostgres } from '../setup/database.ts'
import { type Journey, type Reply, journey } from './journey.ts'
import { type LogLine, logLines } from './logs.ts'
import { atPort, exchange, peerTokenIn } from './ports.ts'
import { flat, textOf, without } from './span-tree.ts'
import { linkOf, traceIdOf } from './trace-link.ts'

let harness: Journey
let redis: Redis
let traces: OtlpReceiver
let receiver: Receiver
/** What was asked for, by name. */
const replies = new Map<string, Reply>()
/** Of every port: whose it is. */
let ports: Map<string, string>
let lines: LogLine[]
/** By service: the instance that its metrics name. */
let targets: Map<string, string>
/** By what each is: what no span may hold. */
const secrets = new Map<string, string>()

/** A caller with a trace of its own, and a service with one. */
const caller = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7' }
const service = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }
const mail = { to: ['ada@example.com'], subject: 'Quarterly figures', text: 'They are good.' }

const steps = ['first', 'list', 'preview', 'execute', 'replay', 'mail preview', 'mail', 'failed run', 'refused', 'unknown path'] as const
type Step = (typeof steps)[number]
const reply = (step: Step): Reply => replies.get(step)!
const traceId = (step: Step): string => traceIdOf(reply(step))
const requestId = (step: Step): string => String(reply(step).headers['x-request-id'])
const runId = (step: Step): string | undefined => reply(step).body.run_id as string | undefined
const workspaceOf = (step: Step): string => (step === 'first' ? 'elsewhere' : 'default')

/** Everything is done first, and the mesh stopped: what it has to say by then is all that it will ever say. */
beforeAll(async () => {
  ;[redis, traces, receiver] = await Promise.all([startRedis(), startOtlpReceiver(), startReceiver()])
  harness = await journey({
    sandbox: true,
    redisUrl: redis.url,
    env: {
      LOG_LEVEL: 'debug',
      EXECUTE_WAIT: '10s',
      // So that no lease is renewed in the midst of it.
      RUN_LEASE: '60s',
      OTEL_EXPORTER_OTLP_ENDPOINT: traces.url,
      GRAFANA_URL: 'https://grafana.example.com/',
      TEMPO_URL: 'http://tempo.example.com:3200',
    },
  })
  const { mesh, api } = harness
  const ask = async (step: Step, asking: Promise<Reply>): Promise<Reply> => {
    const response = await asking
    replies.set(step, response)
    return response
  }
  const post = (path: string, body: object, headers: Record<string, string> = {}) => api.call('POST', path, { body, headers })
  const hook = { url: `${receiver.url}/hook/in-the-path?is=in-the-query`, body: { patient: 'in-the-body' } }
  const agent = { 'user-agent': 'in-the-user-agent/1.0' }
  const key = `in-the-key-${randomUUID()}`

  await connect()
  const elsewhere = await mesh.createKey({ workspace: 'elsewhere', role: 'operator', actor: 'grace@example.com' })
  await ask('first', api.call('GET', '/actions', { headers: { authorization: `Bearer ${elsewhere}` } }))
  await ask('list', api.list())
  const shown = await ask('preview', post('/actions/preview', { action: 'webhook.save', params: hook }, agent))
  const outside = { 'idempotency-key': key, traceparent: `00-${caller.traceId}-${caller.spanId}-01`, tracestate: 'vendor=in-the-state' }
  await ask('execute', post('/actions/execute', { preview_id: shown.body.preview_id }, outside))
  await ask('replay', post('/actions/execute', { preview_id: 'expired-or-invalid' }, { 'idempotency-key': key }))
  const letter = await ask('mail preview', post('/actions/preview', { action: 'gmail.send_email', params: mail }))
  await ask('mail', post('/actions/execute', { preview_id: letter.body.preview_id }))
  const nobody = await post('/actions/preview', { action: 'webhook.save', params: { url: 'http://127.0.0.1:1/' } })
  await ask('failed run', post('/actions/execute', { preview_id: nobody.body.preview_id }))
  const { token: callerToken } = await exchange(mesh, mesh.apiKey)
  const listAs = (from: typeof caller, peerToken?: PeerToken) => {
    const context = { requestId: randomUUID(), trace: { ...from, sampled: true }, callerToken }
    return atPort(mesh, 'actions', (channel) => methodsOf(ActionsServiceService, channel).listActions({}, context), peerToken)
  }
  await listAs(caller)
  await listAs(service, peerTokenIn(mesh, 'gateway'))
  await ask('refused', api.call('GET', '/actions', { headers: { authorization: `Bearer ${mesh.apiKey}0` } }))
  await ask('unknown path', api.call('GET', '/in-the-unknown-path'))

  for (const [name, secret] of Object.entries(JSON.parse(readFileSync(secretsFile(mesh.folder), 'utf8')) as Record<string, string>)) {
    secrets.set(`the secret "${name}"`, secret)
  }
  secrets.set('the key of the other workspace', elsewhere).set('the idempotency key', 'in-the-key')
  const places = ['path', 'query', 'body', 'user-agent', 'state', 'unknown-path']
  for (const place of places) secrets.set(`what stood in the ${place}`, `in-the-${place}`)
  secrets.set('the recipient', 'ada@example.com').set('the sender', 'you@example.com').set('an actor', 'grace@example.com')
  secrets.set('the subject', mail.subject).set('the text', mail.text)

  ports = new Map(Object.entries(mesh.services).map(([name, { grpc }]) => [portOf(grpc), `<${name}>`]))
  ports.set(String(redis.port), '<redis>').set(String(receiver.port), '<receiver>')
  ports.set(portOf(mesh.sandbox!), '<sandbox>').set(portOf(await sharedPostgres()), '<postgres>')
  const admins = [
    ['gateway', mesh.gatewayAdmin] as const,
    ...Object.entries(mesh.services).map(([name, { admin }]) => [name, admin] as const),
  ]
  targets = new Map(await Promise.all(admins.map(async ([name, admin]) => [name, await instanceAt(admin)] as const)))
  await mesh.stop()
  lines = logLines(mesh.folder)
}, 120_000)
afterAll(async () => {
  await harness?.end()
  await Promise.all([traces?.close(), receiver?.close(), redis?.stop()])
})

async function instanceAt(admin: string): Promise<string> {
  const text = await (await fetch(`http://${admin}/metrics`)).text()
  return /^target_info\{service_instance_id="([^"]+)"/m.exec(text)?.[1] ?? 'none'
}

const portOf = (address: string): string => /:(\d+)(?:\/|$)/.exec(address)![1]!

/** Connects an account as a browser does, and keeps what it is shown on the way. */
async function connect(): Promise<void> {
  const { start_url: start } = (await harness.api.call('GET', '/oauth/google/authorize')).body as { start_url: string }
  const { location, cookie } = await continueFrom(start)
  const asked = new URL(location)
  const callback = new URL((await consent(asked, 'you@example.com')).headers.get('location')!)
  const page = await fetch(callback, { headers: { cookie } })
  if (page.status !== 200) throw new Error(`not connected: ${page.status} ${await page.text()}`)
  secrets.set('the ticket', start.split('.').at(-1)!).set('the cookie', cookie.split('=')[1]!)
  secrets.set('the state', asked.searchParams.get('state')!.split('.').at(-1)!).set('the code', callback.searchParams.get('code')!)
}

/** The names of what differs from run to run in the trace of a step. */
function namesOf(step: Step): Map<string, string> {
  const names = new Map(ports).set(requestId(step), '<request>').set(caller.spanId, "<the caller's span>")
  const run = runId(step)
  return run === undefined ? names : names.set(run, '<run>')
}

/** Asked for what is held ahead, whenever that is little: it has a trace of its own to be seen in. */
const rateLimit = 'relay.ratelimit.v1.RateLimitService/Check'

describe('a request is one trace', () => {
  test.each(['list', 'preview', 'execute', 'replay', 'mail preview', 'mail', 'failed run', 'refused', 'unknown path'] as const)(
    'from the gateway through every service to what they ask: %s',
    (step) => {
      const tree = without(traces.trace(traceId(step)), rateLimit)
      expectGolden(`spans/${step.replaceAll(' ', '-')}.txt`, textOf(tree, namesOf(step)))
    },
  )

  test('the first of a key also shows its exchange for a token, and the first of a workspace its limit', () => {
    expectGolden('spans/first.txt', textOf(traces.trace(traceId('first')), namesOf('first')))
  })

  test('with one root, at the gateway, and no span in it begins before its parent', () => {
    for (const step of steps) {
      const [root, ...others] = traces.trace(traceId(step))
      expect([root!.service, root!.kind, others], step).toEqual(['gateway', 'SERVER', []])
      for (const { start, children } of flat([root!])) {
        for (const child of children) expect(child.start, `${step}: ${child.name}`).toBeGreaterThanOrEqual(start)
      }
    }
    expect(new Set(steps.map(traceId)).size).toBe(steps.length)
  })

  test('every process identifies itself among others of its kind', () => {
    const resources = new Map(traces.spans.map(({ service, resource }) => [service, resource]))
    expect([...resources.keys()].sort()).toEqual(['access', 'actions', 'gateway', 'idempotency', 'oauth', 'ratelimit'])
    for (const resource of resources.values()) {
      expect(resource).toMatchObject({
        'service.namespace': 'relay',
        'service.version': expect.stringMatching(/^\d+\.\d+\.\d+/),
        'service.instance.id': expect.stringMatching(/^[0-9a-f-]{36}$/),
        'deployment.environment.name': 'local',
      })
    }
    expect(new Set([...resources.values()].map((each) => each['service.instance.id'])).size).toBe(resources.size)
  })

  test('says of every log line, and of every metric, which process it is', () => {
    const resources = new Map(traces.spans.map(({ service, resource }) => [service, resource['service.instance.id']]))
    expect([...targets].sort()).toEqual([...resources].sort())
    for (const line of lines.filter(({ service }) => resources.has(service))) {
      expect(line['service_instance_id'], line.written).toBe(resources.get(line.service))
    }
  })

  test('the receiver took every export, and no span lost a part of it on the way', () => {
    expect(traces.malformed).toEqual([])
    expect(traces.spans.filter(({ dropped }) => dropped > 0)).toEqual([])
  })
})

describe('X-Trace-Link', () => {
  test('opens that very trace in Explore, in a range of time that holds it', () => {
    for (const step of steps) {
      const { origin, pane } = linkOf(reply(step))
      expect(origin).toBe('https://grafana.example.com')
      expect(pane).toMatchObject({ datasource: 'tempo', queries: [{ datasource: { type: 'tempo', uid: 'tempo' }, queryType: 'traceql' }] })
      const spans = traces.spans.filter((span) => span.traceId === pane.queries[0].query)
      expect(spans.length, step).toBeGreaterThan(0)
      for (const { start, end } of spans) {
        expect(Number(start / 1_000_000n)).toBeGreaterThan(Number(pane.range.from))
        expect(Number(end / 1_000_000n)).toBeLessThan(Number(pane.range.to))
      }
    }
  })
})

describe('a trace across the edge of the mesh', () => {
  test('that a client brings along is not gone on with, but linked', () => {
    const [root] = traces.trace(traceId('execute'))
    expect(root!.traceId).not.toBe(caller.traceId)
    expect(root!.links).toMatchObject([caller])
    expect(traces.spans.filter((span) => span.traceId === caller.traceId)).toEqual([])
  })

  test('that a caller of a gRPC port sends is linked, unless the caller is a service of the mesh: its trace continues', () => {
    const listing = traces.spans.filter(({ name, kind }) => kind === 'SERVER' && name === 'relay.actions.v1.ActionsService/ListActions')
    const linked = listing.filter(({ links }) => links.some(({ traceId }) => traceId === caller.traceId))
    expect(linked).toMatchObject([{ parentId: undefined, links: [caller] }])
    expect(listing.filter((span) => span.traceId === service.traceId)).toMatchObject([{ parentId: service.spanId, links: [] }])
  })

  test('is handed to the receiver of a webhook: it is a child of the request that it got', () => {
    expect(receiver.deliveries).toHaveLength(1)
    const { traceparent, tracestate, baggage } = receiver.deliveries[0]!.headers
    const sent = flat(traces.trace(traceId('execute'))).find(({ name, kind }) => name === 'POST' && kind === 'CLIENT')
    expect(parseTraceparent(String(traceparent))).toEqual({ traceId: traceId('execute'), spanId: sent!.spanId, sampled: true })
    expect([tracestate, baggage]).toEqual([undefined, undefined])
  })
})

describe('the log lines of a request', () => {
  /** The processes that have a part in it. */
  const parts: Partial<Record<Step, string[]>> = {
    first: ['access', 'actions', 'gateway', 'ratelimit'],
    list: ['actions', 'gateway'],
    preview: ['actions', 'gateway'],
    execute: ['actions', 'gateway', 'idempotency'],
    replay: ['actions', 'gateway', 'idempotency'],
    'mail preview': ['actions', 'gateway', 'oauth'],
    mail: ['actions', 'gateway', 'idempotency', 'oauth'],
  }
  const linesOf = (step: Step): LogLine[] =>
    lines.filter(({ written }) => written.includes(requestId(step)) || written.includes(traceId(step)))

  test.each(Object.keys(parts) as Step[])('name it, its trace and its workspace, in every service: %s', (step) => {
    const found = linesOf(step)
    expect([...new Set(found.map((line) => line.service))]).toEqual(expect.arrayContaining(parts[step]!))
    const ids = { request_id: requestId(step), trace_id: traceId(step), workspace_id: workspaceOf(step) }
    for (const line of found) expect(line, line.written).toMatchObject(ids)
  })

  test.each(steps)('name a span of that trace that the same process made: %s', (step) => {
    const made = new Map(flat(traces.trace(traceId(step))).map(({ spanId, service }) => [spanId, service]))
    for (const line of linesOf(step)) expect(made.get(String(line['span_id'])), line.written).toBe(line.service)
  })

  test.each(['execute', 'replay', 'mail'] as const)('name the run where it is known, and no other: %s', (step) => {
    const found = linesOf(step)
    expect([...new Set(found.map((line) => line['run_id']))].filter((run) => run !== undefined)).toEqual([runId(step)])
    const aboutRuns = /ExecuteAction|Claim|Complete|GetToken/
    const ends = found.filter(({ msg, method }) => msg === 'request' || (msg === 'call' && aboutRuns.test(String(method))))
    const services = ['gateway', 'actions', 'idempotency', ...(step === 'mail' ? ['oauth'] : [])]
    expect(new Set(ends.map((line) => line.service))).toEqual(new Set(services))
    for (const line of ends) expect(line['run_id'], line.written).toBe(runId(step))
  })

  test('say each of these once', () => {
    for (const { written } of lines) {
      for (const name of ['request_id', 'trace_id', 'span_id', 'workspace_id', 'run_id']) {
        expect(written.split(`"${name}":`).length, written).toBeLessThanOrEqual(2)
      }
    }
  })
})

describe('what is exported', () => {
  const shapes = [
    /sandbox-(?:google|microsoft)-(?:access|refresh)-/,
    /gAAAAA[\w-]{20}/,
    /eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{20,}/,
    /rly_[a-z]+_[0-9A-Za-z]{10}/,
  ]
  const foundIn = (bytes: string): string[] => [
    ...[...secrets].filter(([, secret]) => bytes.includes(secret)).map(([name]) => name),
    ...shapes.filter((shape) => shape.test(bytes)).map(String),
  ]

  test('contains no secret, body or address', () => {
    const bytes = Buffer.concat(traces.bodies).toString('latin1')
    expect(bytes).toContain('gmail.send_email')
    expect(foundIn(bytes)).toEqual([])
  })

  test('and what looks for them finds each', () => {
    expect(secrets.size).toBeGreaterThan(15)
    for (const [name, secret] of secrets) expect(foundIn(`{"it":"${secret}"}`)).toContain(name)
  })
})
