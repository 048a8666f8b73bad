/** Who takes the traces is nobody's dependency: however useless it is, the mesh does what it does, and loses spans alone. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type OtlpReceiver, startOtlpReceiver } from '../fakes/otlp-receiver.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Journey, type Reply, journey, until } from './journey.ts'
import { logLines } from './logs.ts'
import { traceIdOf } from './trace-link.ts'
import { isExecuted, statuses, use } from './usage.ts'

let traces: OtlpReceiver
let receiver: Receiver
beforeAll(async () => {
  ;[traces, receiver] = await Promise.all([startOtlpReceiver(), startReceiver()])
})
afterAll(async () => {
  await Promise.all([traces?.close(), receiver?.close()])
})

/** An export that is not answered is given up after this, in milliseconds. */
const exportMs = 5000

const metricsOf = async ({ mesh }: Journey, name: string): Promise<string> =>
  (await fetch(`http://${mesh.process(name).listening.admin}/metrics`)).text()

/** Those that have a part in every execute. */
const busy = ['gateway', 'actions', 'idempotency']

/** Of the spans of those: how many became that. */
async function counted(harness: Journey, outcome: string): Promise<number> {
  const texts = await Promise.all(busy.map((name) => metricsOf(harness, name)))
  const line = new RegExp(`^otel_spans_total\\{[^}]*outcome="${outcome}"[^}]*\\} (\\d+)`, 'm')
  return texts.map((text) => Number(line.exec(text)?.[1] ?? 0)).reduce((sum, each) => sum + each, 0)
}

/** Resolves when the traces of the executes among them have spans of everybody who had a part in them. */
async function arrived(replies: readonly Reply[]): Promise<void> {
  const wanted = replies.filter(isExecuted).map(traceIdOf)
  const servicesOf = (id: string) => traces.spans.flatMap(({ traceId, service }) => (traceId === id ? [service] : []))
  await traces.until(() => wanted.every((id) => busy.every((name) => servicesOf(id).includes(name))))
}

describe('where traces are sent, a receiver', () => {
  let harness: Journey
  beforeAll(async () => {
    const grafana = { GRAFANA_URL: 'https://grafana.example.com', TEMPO_URL: 'http://tempo.example.com:3200' }
    harness = await journey({ env: { OTEL_EXPORTER_OTLP_ENDPOINT: traces.url, ...grafana } })
  })
  afterEach(async () => {
    traces.mode = 'take'
    traces.release()
    await traces.comeBack()
  })
  afterAll(() => harness?.end())

  test('that takes them has them, live', async () => {
    const { replies } = await use(harness.api, receiver.url)
    expect(statuses(replies)).toEqual([200])
    await arrived(replies)
  })

  test.each<[string, () => Promise<void> | void]>([
    ['away', () => traces.leave()],
    ['refusing', () => void (traces.mode = 'refuse')],
    ['silent', () => void (traces.mode = 'silent')],
  ])(
    'that is %s costs no request anything: none fails, none waits for it; the spans that it lost are counted',
    async (_, useless) => {
      const before = await counted(harness, 'export_failed')
      await useless()
      const { replies, longestMs } = await use(harness.api, receiver.url)
      expect(statuses(replies)).toEqual([200])
      expect(longestMs).toBeLessThan(exportMs)
      await until(
        () => counted(harness, 'export_failed'),
        (now) => now > before,
      )

      traces.mode = 'take'
      await traces.comeBack()
      await arrived((await use(harness.api, receiver.url)).replies)
    },
    60_000,
  )

  test('that is slow costs no request anything either, and gets them in the end', async () => {
    traces.mode = 'slow'
    const { requests } = traces
    const { replies, longestMs } = await use(harness.api, receiver.url)
    expect(statuses(replies)).toEqual([200])
    expect(longestMs).toBeLessThan(exportMs)
    await traces.until((each) => each.requests > requests)
    traces.mode = 'take'
    traces.release()
    await arrived(replies)
  })

  test('that is silent keeps no process from stopping in time', async () => {
    traces.mode = 'silent'
    const { requests } = traces
    await use(harness.api, receiver.url)
    await traces.until((each) => each.requests > requests)
    for (const name of busy) {
      const began = performance.now()
      await harness.mesh.process(name).stop()
      expect(performance.now() - began, name).toBeLessThan(exportMs)
      expect(logLines(harness.mesh.folder).findLast(({ service }) => service === name)).toMatchObject({ msg: 'stopped' })
    }
  })
})
