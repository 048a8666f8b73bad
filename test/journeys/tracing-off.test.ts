/** Where no trace is recorded, be it that all are sampled out or that tracing is switched off, the mesh does what it does. */
import { mkdirSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { serviceNames } from '../../deploy/services.ts'
import { temporaryFolder } from '../deploy/folder.ts'
import { type OtlpReceiver, startOtlpReceiver } from '../fakes/otlp-receiver.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import type { Loaded } from '../fixtures/loaded-modules.ts'
import { onlyInFullRun } from '../setup/needs.ts'
import { type Journey, journey } from './journey.ts'
import { logLines } from './logs.ts'
import { isExecuted, statuses, use } from './usage.ts'

let traces: OtlpReceiver
let receiver: Receiver
const folder = temporaryFolder()
beforeAll(async () => {
  ;[traces, receiver] = await Promise.all([startOtlpReceiver(), startReceiver()])
})
afterAll(async () => {
  await Promise.all([traces?.close(), receiver?.close()])
  folder.remove()
})

/** Whose modules are written down. */
const start = (name: string, env: Record<string, string>): Promise<Journey> => {
  const loaded = join(folder.path, name)
  mkdirSync(loaded)
  const hook = pathToFileURL(join(import.meta.dirname, '../fixtures/loaded-modules.ts')).href
  const watched = { NODE_OPTIONS: `--import=${hook}`, LOADED_MODULES: loaded }
  const grafana = { GRAFANA_URL: 'https://grafana.example.com', TEMPO_URL: 'http://tempo.example.com:3200' }
  return journey({ env: { LOG_LEVEL: 'debug', OTEL_EXPORTER_OTLP_ENDPOINT: traces.url, ...grafana, ...watched, ...env } })
}

/** By process of the mesh of that name: what of OpenTelemetry's others have asked for. Throws where a process was not watched. */
function openTelemetryIn(name: string): Map<string, Loaded[]> {
  const byMain = new Map<string, Loaded[]>()
  for (const file of readdirSync(join(folder.path, name))) {
    const lines = readFileSync(join(folder.path, name, file), 'utf8')
      .trim()
      .split('\n')
    const [main, ...loaded] = lines.map((line) => JSON.parse(line) as unknown)
    byMain.set(/(\w+)\/main\.ts$/.exec(String(main))?.[1] ?? '', loaded as Loaded[])
  }
  const theirs = (url = '') => url.includes('/node_modules/@opentelemetry/')
  const of = (process: string): [string, Loaded[]] => {
    const loaded = byMain.get(process) ?? []
    if (!loaded.some(({ url }) => url.endsWith('/mesh/serve.ts'))) throw new Error(`${process} was not watched`)
    return [process, loaded.filter(({ url, by }) => theirs(url) && !theirs(by))]
  }
  return new Map(['gateway', ...serviceNames].map(of))
}

/** What is true of a mesh that records nothing, for whatever reason. */
async function expectUnrecorded(harness: Journey): Promise<void> {
  const { requests } = traces
  const { replies } = await use(harness.api, receiver.url)
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const brought = await harness.api.call('GET', '/actions', { headers: { traceparent } })
  expect(statuses([...replies, brought])).toEqual([200])
  for (const { headers } of [...replies, brought]) expect(headers['x-trace-link']).toBeUndefined()
  const metrics = await fetch(`http://${harness.mesh.gatewayAdmin}/metrics`)
  expect(await metrics.text()).toContain('# TYPE http_request_duration_seconds histogram')
  await harness.mesh.stop()
  // What was left would have been sent at the end.
  expect(traces.requests).toBe(requests)

  const executed = replies.filter(isExecuted)
  expect(executed).toHaveLength(10)
  const lines = logLines(harness.mesh.folder)
  for (const { headers, body } of executed) {
    const mine = lines.filter((line) => line['request_id'] === headers['x-request-id'])
    expect(mine.map(({ service }) => service)).toEqual(expect.arrayContaining(['gateway', 'actions', 'idempotency']))
    expect(new Set(mine.map((line) => line['trace_id'])).size).toBe(1)
    const ids = { trace_id: expect.stringMatching(/^[0-9a-f]{32}$/), span_id: expect.stringMatching(/^[0-9a-f]{16}$/) }
    for (const line of mine) expect(line, line.written).toMatchObject({ ...ids, workspace_id: 'default' })
    expect(mine.find(({ service, msg }) => service === 'actions' && msg === 'call')).toMatchObject({ run_id: body.run_id })
  }
  expect(JSON.stringify(lines)).not.toContain('4bf92f3577b34da6a3ce929d0e0e4736')
}

// A mesh of its own; sampling is proven in test/mesh/telemetry/tracing.test.ts.
test(
  'a share of 0 records no trace, not even one that a client says is recorded; log lines go on naming theirs',
  { ...onlyInFullRun, timeout: 60_000 },
  async () => {
    const harness = await start('unsampled', { OTEL_TRACES_SAMPLER_ARG: '0' })
    try {
      await expectUnrecorded(harness)
      // Whoever is told by its caller that a trace is recorded follows, so it is ready to.
      const sdk = ({ url, by }: Loaded) => url.includes('/@opentelemetry/sdk-trace/') && by!.endsWith('/mesh/telemetry/open-telemetry.ts')
      for (const [name, loaded] of openTelemetryIn('unsampled')) expect(loaded.some(sdk), name).toBe(true)
    } finally {
      await harness.end()
    }
  },
)

test('TELEMETRY_ENABLED=false records none either, and no process loads anything of OpenTelemetry', async () => {
  const harness = await start('off', { TELEMETRY_ENABLED: 'false' })
  try {
    await expectUnrecorded(harness)
    // The interface alone, without anything behind it, is what the metrics library itself imports.
    const ours = ({ by }: Loaded) => !by!.includes('/node_modules/prom-client/')
    const loaded = [...openTelemetryIn('off')].map(([name, all]) => [name, all.filter(ours)])
    expect(loaded).toEqual(['gateway', ...serviceNames].map((name) => [name, []]))
  } finally {
    await harness.end()
  }
}, 60_000)
