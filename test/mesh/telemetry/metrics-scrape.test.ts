/** A real Prometheus reads what a process says of itself, exemplars too. Debian has one; where there is none, this is left out. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { serveAdmin } from '#mesh/admin.ts'
import { Health } from '#mesh/grpc/health.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { newTrace } from '#mesh/telemetry/trace-context.ts'
import { temporaryFolder } from '../../deploy/folder.ts'
import { needs } from '../../setup/needs.ts'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Scrapes the address every quarter of a second. */
async function prometheus(scraped: string): Promise<(path: string) => Promise<unknown>> {
  const folder = temporaryFolder()
  const [port, config] = [await freePort(), join(folder.path, 'prometheus.yml')]
  writeFileSync(config, `scrape_configs: [{ job_name: relay, scrape_interval: 250ms, static_configs: [{ targets: ['${scraped}'] }] }]\n`)
  const options = ['--config.file', config, '--storage.tsdb.path', join(folder.path, 'data'), '--web.listen-address', `127.0.0.1:${port}`]
  const child = spawn('prometheus', [...options, '--enable-feature=exemplar-storage', '--log.level=error'], { stdio: 'ignore' })
  onTestFinished(async () => {
    if (child.kill('SIGKILL')) await once(child, 'exit')
    folder.remove()
  })
  return async (path) => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`).catch(() => undefined)
    const { data } = ((await response?.json().catch(() => undefined)) ?? {}) as { data?: unknown }
    return data
  }
}

interface Bucket {
  seriesLabels: { le: string }
  exemplars: { labels: { trace_id: string }; value: string }[]
}

test('a slow bucket leads to the trace that fell into it', needs('prometheus'), async () => {
  const metrics = new Metrics('tested')
  const seconds = metrics.histogram('took_seconds', 'Time', ['method']).labels({ method: 'GET' })
  const [fast, slow] = [newTrace(true), newTrace(true)]
  metrics.counter('things_total', 'Things\nof "all" kinds', { kind: ['go"od', 'b\\ad', 'ug\nly'] }).inc({ kind: 'ug\nly' }, 2)
  metrics.gauge('limits', 'Odd').set(Number.NaN)
  seconds.observe(0.001, fast)
  seconds.observe(12, slow)
  seconds.observe(13, newTrace(false))
  const admin = await serveAdmin({ host: '127.0.0.1', port: 0 }, { metrics, health: new Health({ services: [] }) })
  onTestFinished(() => admin.close())

  const ask = await prometheus(`127.0.0.1:${admin.port}`)
  const found = () => ask(`query_exemplars?query=took_seconds_bucket&start=0&end=${Math.ceil(Date.now() / 1000) + 60}`)
  const exemplars = async () => {
    const series = ((await found()) ?? []) as Bucket[]
    return Object.fromEntries(
      series.map(({ seriesLabels, exemplars: its }) => [seriesLabels.le, its.map(({ labels, value }) => [labels.trace_id, Number(value)])]),
    )
  }
  await expect.poll(exemplars, { timeout: 20_000 }).toEqual({ '0.001': [[fast.traceId, 0.001]], '30.0': [[slow.traceId, 12]] })
  const value = async (query: string) => {
    const { result } = (await ask(`query?query=${encodeURIComponent(query)}`)) as { result: { value: [number, string] }[] }
    return result.map((each) => each.value[1])
  }
  expect(await value('took_seconds_count')).toEqual(['3'])
  expect(await value('things_total{kind="ug\\nly"}')).toEqual(['2'])
  expect(await value('up')).toEqual(['1'])
})
