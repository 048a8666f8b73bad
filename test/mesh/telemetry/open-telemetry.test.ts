/** The real SDK against a receiver over HTTP: what arrives, and what becomes of what does not. */
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readConfig } from '#mesh/config.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { openTelemetry } from '#mesh/telemetry/open-telemetry.ts'
import type { TracerHandle } from '#mesh/telemetry/tracer-handle.ts'
import { runInScope } from '#mesh/telemetry/scope.ts'
import { newTrace } from '#mesh/telemetry/trace-context.ts'
import { beginTrace, startServerSpan, setTracer, startSpan } from '#mesh/telemetry/tracing.ts'
import { telemetryVariables } from '#mesh/telemetry/variables.ts'
import { type OtlpReceiver, startOtlpReceiver } from '../../fakes/otlp-receiver.ts'

let receiver: OtlpReceiver
let metrics: Metrics
let recording: TracerHandle
let lines: { level: string; msg: string }[]
beforeEach(async () => {
  receiver = await startOtlpReceiver()
  metrics = new Metrics('tested')
  const own: typeof lines = (lines = [])
  const log = createLogger('tested', 'info', { write: (line) => void own.push(JSON.parse(line) as (typeof own)[number]) })
  const about = { service: 'tested', version: '1.2.3', environment: 'test', instance: 'i-1', log, metrics }
  const exporter = new OTLPTraceExporter({ url: `${receiver.url}/v1/traces`, timeoutMillis: 5000 })
  recording = openTelemetry({ ...readConfig(telemetryVariables, {}), ...about, exporter, sampleRatio: 1 })
})
afterEach(async () => {
  receiver.mode = 'take'
  await receiver.close()
  await recording.stop(0)
  setTracer(undefined)
})

const outcomes = async () => {
  const { values } = await metrics.registry.getSingleMetric('otel_spans_total')!.get()
  return Object.fromEntries(values.map(({ labels, value }) => [labels['outcome'], value])) as Record<string, number>
}
const finish = (name = 'GET /actions') => beginTrace({ name, kind: 'server' }).span!.end()

/** Waits for what nothing tells of. */
async function until(good: () => Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  await expect.poll(good, { timeout: timeoutMs, interval: 20 }).toBe(true)
}

test('every span arrives as it was made: ids, parents, kinds, attributes by their types, links, and whose it is', async () => {
  const inbound = newTrace(true)
  const start = { name: 'POST /actions/execute', kind: 'server', attributes: { 'http.route': '/actions/execute' } } as const
  const { trace, span } = startServerSpan(start, inbound, false)
  const child = startSpan({ name: 'begin_run', kind: 'client', attributes: { 'server.port': 5432, none: undefined } }, trace)!
  const inner = startSpan({ name: 'execute webhook.save', kind: 'internal' }, child.trace)!
  inner.set({ 'relay.replayed': false })
  inner.end()
  child.fail('ECONNREFUSED')
  child.end()
  span!.set({ 'http.response.status_code': 200 })
  span!.end()
  await receiver.until(({ spans }) => spans.length === 3)

  expect(receiver.trace(trace.traceId)).toMatchObject([
    {
      service: 'tested',
      spanId: trace.spanId,
      parentId: undefined,
      name: 'POST /actions/execute',
      kind: 'SERVER',
      attributes: { 'http.route': '/actions/execute', 'http.response.status_code': { int: 200n } },
      links: [{ traceId: inbound.traceId, spanId: inbound.spanId }],
      status: { code: 'UNSET' },
      resource: {
        'service.name': 'tested',
        'service.namespace': 'relay',
        'service.version': '1.2.3',
        'service.instance.id': 'i-1',
        'deployment.environment.name': 'test',
      },
      children: [
        {
          spanId: child.trace.spanId,
          kind: 'CLIENT',
          attributes: { 'server.port': { int: 5432n }, 'error.type': 'ECONNREFUSED' },
          status: { code: 'ERROR', message: '' },
          children: [{ spanId: inner.trace.spanId, kind: 'INTERNAL', attributes: { 'relay.replayed': false } }],
        },
      ],
    },
  ])
  expect(receiver.trace(trace.traceId)[0]!.children[0]!.attributes).not.toHaveProperty('none')
  expect(receiver.malformed).toEqual([])
  await until(async () => (await outcomes())['exported'] === 3)
})

test('on stop, it sends the remaining spans', async () => {
  finish()
  await recording.stop(5000)
  expect(receiver.spans).toHaveLength(1)
  // And makes no more.
  expect(beginTrace({ name: 'late', kind: 'server' }).span).toBeUndefined()
})

describe('a receiver', () => {
  test.each(['silent', 'slow'] as const)('that is %s holds up nobody who stops for longer than is said', async (mode) => {
    receiver.mode = mode
    finish()
    await receiver.until(({ requests }) => requests === 1)
    finish()
    const started = performance.now()
    await recording.stop(100)
    expect(performance.now() - started).toBeLessThan(2000)
  })

  test('that answers late gets spans as they are, no more of them at a time than are let wait', async () => {
    receiver.mode = 'slow'
    const made = 20_000
    for (let span = 0; span < made; span += 1) finish()
    const { queue_full: dropped } = await outcomes()
    // What waits is what was not dropped: that bounds the memory.
    expect(made - dropped!).toBeLessThanOrEqual(4096)
    await receiver.until(({ requests }) => requests > 0)
    receiver.mode = 'take'
    receiver.release()
    await until(async () => (await outcomes())['exported'] === made - dropped!)
    // Again there is room.
    finish('after all')
    await receiver.until(({ spans }) => spans.some(({ name }) => name === 'after all'))
    await until(async () => (await outcomes())['exported'] === made - dropped! + 1)
    expect((await outcomes())['queue_full']).toBe(dropped)
  })

  test.each<[string, () => Promise<void> | void]>([
    ['away', () => receiver.leave()],
    ['refusing', () => void (receiver.mode = 'refuse')],
    ['silent', () => void (receiver.mode = 'silent')],
  ])('that is %s costs only spans, which are counted; when it is itself again they arrive', async (_, useless) => {
    await useless()
    finish('lost')
    await until(async () => (await outcomes())['export_failed'] === 1)

    receiver.mode = 'take'
    await receiver.comeBack()
    finish('found')
    await receiver.until(({ spans }) => spans.some(({ name }) => name === 'found'))
    await until(async () => (await outcomes())['exported'] === 1)
    expect(await outcomes()).toMatchObject({ export_failed: 1, exported: 1 })
    expect(lines).toMatchObject([{ level: 'warn' }, { level: 'info' }])
  })

  test('that is unavailable is logged by the process itself: the line names no request, whoever made the span', async () => {
    await receiver.leave()
    runInScope({ work: { requestId: 'r-1' }, trace: newTrace(true) }, () => finish('lost'))
    await until(async () => (await outcomes())['export_failed'] === 1)
    expect(lines).toMatchObject([{ level: 'warn' }])
    expect(lines[0]).not.toHaveProperty('request_id')
  })

  test('that is unavailable for long is logged once', async () => {
    await receiver.leave()
    for (const count of [1, 2]) {
      finish('lost')
      await until(async () => (await outcomes())['export_failed'] === count)
    }
    expect(lines).toMatchObject([{ level: 'warn' }])
  })
})
