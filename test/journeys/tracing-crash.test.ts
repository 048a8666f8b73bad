/** What goes on after a request, in another process or another round, leads back to the request's trace. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type OtlpReceiver, startOtlpReceiver } from '../fakes/otlp-receiver.ts'
import type { Span } from '../fakes/otlp-trace.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { expectGolden } from '../golden/golden.ts'
import { sharedPostgres } from '../setup/database.ts'
import { type Journey, journey, until } from './journey.ts'
import { logLines } from './logs.ts'
import { textOf } from './span-tree.ts'
import { traceIdOf } from './trace-link.ts'

let harness: Journey
let traces: OtlpReceiver
let receiver: Receiver
let held = Promise.withResolvers<void>()
beforeAll(async () => {
  traces = await startOtlpReceiver()
  receiver = await startReceiver({
    respond: async () => {
      await held.promise
      return {}
    },
  })
  const grafana = { GRAFANA_URL: 'https://grafana.example.com', TEMPO_URL: 'http://tempo.example.com:3200' }
  harness = await journey({ replicas: { actions: 2 }, env: { OTEL_EXPORTER_OTLP_ENDPOINT: traces.url, ...grafana } })
})
afterAll(async () => {
  held.resolve()
  await harness?.end()
  await Promise.all([traces?.close(), receiver?.close()])
})

const portOf = (address: string): string => new URL(`http://${address}`).port
const instanceOf = ({ resource }: Span) => resource['service.instance.id']
/** The root of that name which is about this run; throws where there is none in time. */
async function rootFor(name: string, runId: string): Promise<Span> {
  const isAboutIt = ({ attributes }: Span) => (attributes['relay.run_id'] ?? runId) === runId
  const find = () => traces.spans.find((span) => span.name === name && span.parentId === undefined && isAboutIt(span))
  await traces.until(() => find() !== undefined)
  return find()!
}

test('killed while it delivers, a run is ended by another replica in a trace of its own, linked to the one that began it', async () => {
  // One replica is away, so that it is known which the other is.
  await harness.mesh.process('actions-2').kill('SIGKILL')
  const shown = await harness.api.preview(receiver.url)
  const previewed = traceIdOf(shown)
  await traces.until(({ spans }) => spans.some(({ traceId, service }) => traceId === previewed && service === 'actions'))
  const killed = instanceOf(traces.spans.find(({ traceId, service }) => traceId === previewed && service === 'actions')!)

  const key = `k-${randomUUID()}`
  const asking = harness.api.execute(shown.body.preview_id as string, key)
  await receiver.waitForDeliveries(1)
  const runId = String(receiver.deliveries[0]!.headers['webhook-id'])
  const [, began] = String(receiver.deliveries[0]!.headers['traceparent']).split('-')
  await harness.mesh.process('actions-2').restart()
  await harness.mesh.process('actions').kill('SIGKILL')
  const told = await asking
  expect(told.status).toBe(503)
  expect(traceIdOf(told)).toBe(began)
  held.resolve()

  const root = await rootFor('reconcile run', runId)
  expect(root.traceId).not.toBe(began)
  expect(root.links).toMatchObject([{ traceId: began }])
  expect([root.service, instanceOf(root) === killed]).toEqual(['actions', false])
  // Its key is told, which nobody waits for: then the trace is whole.
  const complete = 'relay.idempotency.v1.IdempotencyService/Complete'
  const inIt = () => traces.spans.filter(({ traceId }) => traceId === root.traceId)
  await traces.until(() => inIt().filter(({ name }) => name === complete).length === 2)
  await traces.until(() => inIt().some(({ name }) => name === 'actions.mark-delivered'))

  const requestId = String(told.headers['x-request-id'])
  const names = new Map(Object.entries(harness.mesh.services).map(([name, { grpc }]) => [portOf(grpc), `<${name}>`]))
  names.set(runId, '<run>').set(requestId, '<request>').set(began!, '<what began it>')
  names.set(new URL(await sharedPostgres()).port, '<postgres>')
  expectGolden('spans/reconcile.txt', textOf(traces.trace(root.traceId), names))

  // The lines that are logged meanwhile are the request's, and the new trace's.
  const line = () => logLines(harness.mesh.folder).find(({ msg }) => msg === 'reconciled a lost run')
  expect(
    await until(
      async () => line(),
      (found) => found !== undefined,
    ),
  ).toMatchObject({
    request_id: requestId,
    trace_id: root.traceId,
    span_id: root.spanId,
    run_id: runId,
    workspace_id: 'default',
  })
  await harness.mesh.process('actions').restart()
}, 60_000)

test('an end that could not be reported at once is reported in a separate round, linked to the traces of its runs', async () => {
  held = Promise.withResolvers()
  const before = receiver.deliveries.length
  const asking = harness.api.execute(await harness.api.previewId(receiver.url))
  await receiver.waitForDeliveries(before + 1)
  await harness.mesh.process('idempotency').kill('SIGKILL')
  held.resolve()
  const reply = await asking
  expect(reply.body).toMatchObject({ status: 'success' })
  // The first report waits for a connection, and has failed once no replica came back in time.
  const runId = reply.body.run_id as string
  const report = (span: Span) => span.name === 'relay.idempotency.v1.IdempotencyService/Complete' && span.traceId === traceIdOf(reply)
  await traces.until(({ spans }) => spans.some((span) => report(span) && span.status.code === 'ERROR'))
  await harness.mesh.process('idempotency').restart()
  const root = await rootFor('outbox relay', runId)
  expect(root.links).toMatchObject([{ traceId: traceIdOf(reply) }])
  expect([root.service, root.kind]).toEqual(['actions', 'INTERNAL'])
}, 60_000)
