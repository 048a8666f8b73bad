/** The standard variables of OpenTelemetry, as a process reads them: by what arrives at a receiver. */
import { execFile } from 'node:child_process'
import { type IncomingHttpHeaders, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

interface Export {
  path: string
  headers: IncomingHttpHeaders
  body: Buffer
}

let url: string
let exports: Export[]
let close: () => Promise<void>
beforeEach(async () => {
  exports = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request
      .on('data', (chunk: Buffer) => chunks.push(chunk))
      .on('end', () => {
        exports.push({ path: request.url!, headers: request.headers, body: Buffer.concat(chunks) })
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  close = () => new Promise((resolve) => server.close(() => resolve()))
})
afterEach(() => close())

const root = new URL('../../../', import.meta.url)
/** Makes `spans` traces of one span each, as a process of the mesh does, and ends. */
const program = (spans: number) => `
  const { openRecording } = await import('#mesh/telemetry/tracer-handle.ts')
  const { createLogger } = await import('#mesh/telemetry/log.ts')
  const { Metrics } = await import('#mesh/telemetry/metrics.ts')
  const { beginTrace } = await import('#mesh/telemetry/tracing.ts')
  const about = { service: 'tested', version: '1.2.3', environment: 'test', instance: 'i-1', log: createLogger('tested', 'warn'), metrics: new Metrics('tested') }
  const recording = openRecording(about)
  for (let span = 0; span < ${spans}; span += 1) beginTrace({ name: 'x'.repeat(20), kind: 'server', attributes: { long: 'y'.repeat(1000) } }).span?.end()
  await recording?.stop(5000)
  console.log(recording === undefined ? 'off' : 'on')`

async function record(env: Record<string, string>, spans = 1): Promise<string> {
  const start = new URL('mesh/telemetry/start.ts', root).href
  const { stdout } = await promisify(execFile)('node', ['--import', start, '--input-type=module', '-e', program(spans)], {
    cwd: root,
    env: { PATH: process.env.PATH, ...env },
  })
  return stdout.trim()
}

interface Traces {
  resourceSpans: {
    resource: { attributes: { key: string; value: { stringValue?: string } }[] }
    scopeSpans: { spans: { name: string; attributes: { key: string; value: { stringValue?: string } }[] }[] }[]
  }[]
}
const json = ({ body, headers }: Export): Traces =>
  JSON.parse((headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString()) as Traces
const spansOf = (each: Export) => json(each).resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
const resourceOf = (each: Export) =>
  Object.fromEntries(json(each).resourceSpans[0]!.resource.attributes.map(({ key, value }) => [key, value.stringValue]))

describe('a process sends its traces', () => {
  test('as protobuf to the base URL, by default', async () => {
    expect(await record({ OTEL_EXPORTER_OTLP_ENDPOINT: `${url}/base/` })).toBe('on')
    expect(exports).toHaveLength(1)
    expect(exports[0]).toMatchObject({ path: '/base/v1/traces', headers: { 'content-type': 'application/x-protobuf' } })
  })

  test('as JSON, compressed, with headers, to a URL for traces alone, where the variables say so', async () => {
    await record({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/own/path`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=acme,authorization=Basic%20abc',
    })
    expect(exports[0]).toMatchObject({
      path: '/own/path',
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip', 'x-tenant': 'acme', authorization: 'Basic abc' },
    })
    expect(spansOf(exports[0]!)).toHaveLength(1)
  })

  test('under the name, with the attributes and within the limits that the variables give', async () => {
    await record(
      {
        OTEL_EXPORTER_OTLP_ENDPOINT: url,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_SERVICE_NAME: 'other',
        OTEL_RESOURCE_ATTRIBUTES: 'team=mail',
        OTEL_NODE_RESOURCE_DETECTORS: 'env,host',
        OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT: '10',
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '2',
      },
      5,
    )
    expect(resourceOf(exports[0]!)).toMatchObject({
      'service.name': 'other',
      team: 'mail',
      'host.name': hostname(),
      'service.instance.id': 'i-1',
    })
    const spans = exports.map(spansOf)
    expect(spans.map(({ length }) => length).toSorted()).toEqual([1, 2, 2])
    expect(
      spans.flat().every(({ attributes }) => attributes.some(({ key, value }) => key === 'long' && value.stringValue === 'y'.repeat(10))),
    ).toBe(true)
  })

  test.each([
    [{ OTEL_TRACES_SAMPLER: 'always_on', OTEL_TRACES_SAMPLER_ARG: '0' }, 20],
    [{ OTEL_TRACES_SAMPLER: 'parentbased_always_off' }, 0],
    [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' }, 0],
    [{ OTEL_TRACES_SAMPLER_ARG: '1' }, 20],
  ])('with %j, %i of 20 traces', async (env, expected) => {
    await record({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', ...env }, 20)
    expect(exports.flatMap(spansOf)).toHaveLength(expected)
  })

  test.each<Record<string, string>>([
    { OTEL_SDK_DISABLED: 'true' },
    { OTEL_TRACES_EXPORTER: 'none' },
    { TELEMETRY_ENABLED: 'false' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
  ])('not at all with %j', async (env) => {
    expect(await record({ OTEL_EXPORTER_OTLP_ENDPOINT: url, ...env })).toBe('off')
    expect(exports).toEqual([])
  })
})
