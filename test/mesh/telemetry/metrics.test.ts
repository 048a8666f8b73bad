/** The instruments of a process, and what a scraper reads of them. */
import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { newTrace } from '#mesh/telemetry/trace-context.ts'
import { parseExposition } from '../../../gate/exposition.ts'
import { needs } from '../../setup/needs.ts'

const openMetrics = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5'
const linesOf = async (metrics: Metrics, name: string, accept = openMetrics) =>
  (await metrics.scrape(accept)).body.split('\n').filter((line) => line.startsWith(name))

function timed() {
  const metrics = new Metrics('tested')
  return { metrics, seconds: metrics.histogram('took_seconds', 'Time', ['method']) }
}

test('a bucket names the last recorded trace that fell into it, what that took, and when', async () => {
  const { metrics, seconds } = timed()
  const [first, last, longest] = [newTrace(true), newTrace(true), newTrace(true)]
  const [get, before] = [seconds.labels({ method: 'GET' }), Date.now() / 1000]
  get.observe(0.03, first)
  get.observe(0.05, last)
  get.observe(31, longest)
  // Whoever else looks the labels up shares the places.
  seconds.labels({ method: 'GET' }).observe(0.04)

  const lines = await linesOf(metrics, 'took_seconds_bucket')
  const exemplars = lines.filter((line) => line.includes(' # '))
  expect(exemplars).toHaveLength(2)
  const pattern = /^took_seconds_bucket\{le="(.+)",method="GET",service="tested"\} (\d+) # \{trace_id="(.+)"\} ([\d.]+) ([\d.]+)$/
  const read = exemplars.map((line) => pattern.exec(line)!.slice(1))
  expect(read.map((each) => each.slice(0, 4))).toEqual([
    ['0.05', '3', last.traceId, '0.05'],
    ['+Inf', '4', longest.traceId, '31'],
  ])
  for (const [, , , , at] of read) expect(Number(at) - before).toBeGreaterThanOrEqual(-0.001)
})

test('what is not recorded is counted and named nowhere, and neither are the traces of other labels', async () => {
  const { metrics, seconds } = timed()
  seconds.labels({ method: 'GET' }).observe(0.03, newTrace(false))
  seconds.labels({ method: 'GET' }).observe(0.03)
  seconds.labels({ method: 'POST' }).observe(0.03, newTrace(true))
  const lines = await linesOf(metrics, 'took_seconds_bucket')
  expect(lines.filter((line) => line.includes(' # ')).map((line) => /method="(\w+)"/.exec(line)![1])).toEqual(['POST'])
  expect(lines).toContain('took_seconds_bucket{le="0.05",method="GET",service="tested"} 2')
})

test('scrapes of both formats at once each get theirs, again and again', async () => {
  const { metrics, seconds } = timed()
  metrics.counter('things_total', 'Things').inc()
  metrics.gauge('slow', 'Read at each scrape', [], async (gauge) => {
    await new Promise((resolve) => setImmediate(resolve))
    gauge.set(1)
  })
  seconds.labels({ method: 'GET' }).observe(0.03, newTrace(true))
  const accepts = [openMetrics, undefined, openMetrics, 'text/plain', openMetrics, '*/*']
  const scraped = await Promise.all(accepts.map((accept) => metrics.scrape(accept)))
  for (const [index, { type, body }] of scraped.entries()) {
    const open = accepts[index] === openMetrics
    expect(type).toBe(open ? 'application/openmetrics-text; version=1.0.0; charset=utf-8' : 'text/plain; version=0.0.4; charset=utf-8')
    expect(body).toContain(open ? '# TYPE things counter' : '# TYPE things_total counter')
    expect(body).toContain('things_total{service="tested"} 1')
    expect(body).toContain('slow{service="tested"} 1')
    expect(body.endsWith('# EOF\n')).toBe(open)
    expect(body.includes('trace_id')).toBe(open)
  }
})

test('both formats say the same numbers', async () => {
  const { metrics, seconds } = timed()
  for (const value of [0.0004, 0.001, 0.7, 1, 5, 100]) seconds.labels({ method: 'GET' }).observe(value)
  const [plain, open] = await Promise.all(['text/plain', openMetrics].map((accept) => linesOf(metrics, 'took_seconds', accept)))
  expect(parseExposition(open!.join('\n').replace(/le="(\d+)\.0"/g, 'le="$1"'))).toEqual(parseExposition(plain!.join('\n')))
  expect(plain).toHaveLength(18)
})

test('a label of its own called service is not overwritten by the process that counts', async () => {
  const metrics = new Metrics('access')
  metrics.counter('events_total', 'Events', ['service']).inc({ service: 'actions' })
  for (const accept of [openMetrics, 'text/plain']) {
    expect(await linesOf(metrics, 'events_total', accept)).toEqual(['events_total{service="actions"} 1'])
  }
})

test('a counter whose labels are closed is there from the start, so that its first event is an increase', async () => {
  const metrics = new Metrics('tested')
  const closed = metrics.counter('ends_total', 'Ends', { outcome: ['good', 'bad'], by: ['us', 'them'] })
  closed.inc({ outcome: 'bad', by: 'us' }, 2)
  expect(await linesOf(metrics, 'ends_total')).toEqual([
    'ends_total{outcome="good",by="us",service="tested"} 0',
    'ends_total{outcome="good",by="them",service="tested"} 0',
    'ends_total{outcome="bad",by="us",service="tested"} 2',
    'ends_total{outcome="bad",by="them",service="tested"} 0',
  ])
  // @ts-expect-error -- no other value compiles
  closed.inc({ outcome: 'strange', by: 'us' })
})

test('a gauge and a histogram whose labels are closed are there from the start, as 0', async () => {
  const metrics = new Metrics('tested')
  metrics.gauge('refused', 'Refused', { provider: ['google', 'microsoft'] })
  const seconds = metrics.histogram('asked_seconds', 'Asked', { provider: ['google', 'microsoft'] })
  expect(await linesOf(metrics, 'refused')).toEqual([
    'refused{provider="google",service="tested"} 0',
    'refused{provider="microsoft",service="tested"} 0',
  ])
  seconds.labels({ provider: 'google' }).observe(2)
  seconds.startTimer({ provider: 'google' })()
  expect(await linesOf(metrics, 'asked_seconds_count')).toEqual([
    'asked_seconds_count{provider="google",service="tested"} 2',
    'asked_seconds_count{provider="microsoft",service="tested"} 0',
  ])
})

test('promtool reads the text format', needs('promtool'), async () => {
  const { metrics, seconds } = timed()
  metrics.counter('ends_total', 'Ends', { outcome: ['good', 'b"a\\d'] })
  seconds.labels({ method: 'GET' }).observe(0.03, newTrace(true))
  const { body } = await metrics.scrape(undefined)
  // What it has against the names of Node's own metrics is not ours to change.
  const { stderr } = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' })
  expect(stderr.split('\n').filter((line) => line !== '' && !/^(?:nodejs|process)_/.test(line))).toEqual([])
})
