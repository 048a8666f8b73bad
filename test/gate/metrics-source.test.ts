/** The same mesh, read at its processes and through a Prometheus: the judge is told the same. */
import { once } from 'node:events'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { meshSeen } from '../../gate/mesh-metrics.ts'
import { prometheus, scrapes, seriesOf } from '../../gate/metrics-source.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

/** Where the key goes, which here nobody asks for. */
const nobody = { gateway: new URL('http://gateway.example.com'), apiKey: 'rly_test_key' }

async function serve(answer: (url: URL, authorization?: string) => string | undefined): Promise<URL> {
  const server = createServer((request, response) => {
    const text = answer(new URL(request.url!, 'http://prometheus.example.com'), request.headers.authorization)
    response.writeHead(text === undefined ? 503 : 200).end(text ?? 'not now')
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
}

const gateway = (factor: number): string =>
  [
    'process_start_time_seconds{service="gateway"} 1000',
    `process_resident_memory_bytes{service="gateway"} ${90e6 + factor}`,
    `process_cpu_seconds_total{service="gateway"} ${factor}`,
    `http_requests_total{endpoint="/actions",method="GET",status_code="200",service="gateway"} ${10 * factor}`,
    `http_requests_total{endpoint="/actions",method="GET",status_code="503",service="gateway"} ${factor}`,
    `http_requests_total{endpoint="/metrics",method="GET",status_code="200",service="gateway"} ${1000 * factor}`,
    `http_request_duration_seconds_bucket{le="0.05",endpoint="/actions",method="GET",service="gateway"} ${10 * factor}`,
    `http_request_duration_seconds_bucket{le="+Inf",endpoint="/actions",method="GET",service="gateway"} ${11 * factor}`,
    `http_request_duration_seconds_bucket{le="+Inf",endpoint="/actions/execute",method="POST",service="gateway"} ${500 * factor}`,
    '',
  ].join('\n')

/** What an instant query answers for the same lines. */
const vector = (text: string, instance: string): string => {
  const result = [...text.matchAll(/^(\w+)\{(.*)\} (\S+)$/gm)].map(([, name, labels, value]) => {
    const pairs = [...labels!.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text])
    return { metric: { __name__: name, instance, ...Object.fromEntries(pairs) }, value: [1700000000, value] }
  })
  return JSON.stringify({ status: 'success', data: { resultType: 'vector', result } })
}

test('only the gateway gets the key, because it may require one', async () => {
  const shown: (string | undefined)[] = []
  const serving = () =>
    serve((_url, authorization) => {
      shown.push(authorization)
      return gateway(1)
    })
  const own = await serving()
  const found = await scrapes({ gateway: new URL('/metrics', own) }, { gateway: own, apiKey: 'rly_test_key' }).read()
  await scrapes({ actions: new URL('/metrics', await serving()) }, { gateway: own, apiKey: 'rly_test_key' }).read()
  expect([found.size, shown]).toEqual([1, ['Bearer rly_test_key', undefined]])
})

test('counts and latencies are those of the time between, without what the gateway answers about itself', async () => {
  let factor = 1
  const source = scrapes({ gateway: await serve(() => gateway(factor)) }, nobody)
  const before = await source.read()
  factor = 3
  const seen = meshSeen(['gateway'], [before, await source.read()])
  expect(seen).toMatchObject({
    requests: 22,
    serverErrors: 2,
    light: [
      { le: 0.05, count: 20 },
      { le: Infinity, count: 22 },
    ],
  })
  expect(seen.processes).toMatchObject([{ name: 'gateway', cpuSeconds: 2, peakResident: 90e6 + 3, looks: 2, missed: 0, restarts: 0 }])
})

test('a process that does not answer, or not in the format, was missed', async () => {
  const broken = await serve((url) => (url.pathname === '/half' ? 'process_cpu_seconds_total 1\nproc' : undefined))
  const found = await scrapes({ gone: broken, half: new URL('/half', broken) }, nobody).read()
  expect([...found.keys()]).toEqual([])
  expect(meshSeen(['gone'], [found, found]).processes).toMatchObject([{ missed: 2, cpuSeconds: undefined }])
})

test('through Prometheus the same is seen, process by process, once it has scraped everything', async () => {
  let factor = 1
  let scrapedAt = 0
  const queries: string[] = []
  const url = await serve(({ pathname, searchParams }) => {
    const query = searchParams.get('query') ?? ''
    queries.push(query)
    if (pathname !== '/api/v1/query') return undefined
    if (!query.startsWith('timestamp(')) return vector(gateway(factor), 'gateway:8080')
    // Each question finds it further; the last one where it must be.
    scrapedAt += 100
    return vector(`process_cpu_seconds_total{service="gateway"} ${scrapedAt}\n`, 'gateway:8080')
  })
  const source = prometheus({ url, match: 'env="staging"', timeoutMs: 10_000 })
  const before = await source.readAfter(100_000)
  factor = 3
  const after = await source.readAfter(300_000)
  expect([...after.keys()]).toEqual(['gateway gateway:8080'])
  expect(meshSeen([...after.keys()], [before, after])).toMatchObject({ requests: 22, serverErrors: 2, processes: [{ cpuSeconds: 2 }] })
  expect(scrapedAt).toBe(300)
  for (const query of queries) expect(query).toContain('env="staging"')
})

test('a server that is not a Prometheus is reported as such', async () => {
  for (const text of ['{}', '{"status":"error"}', '{"status":"success","data":{"resultType":"matrix","result":[]}}', 'null', 'x']) {
    expect(() => seriesOf(text), text).toThrow()
  }
  await expect(prometheus({ url: await serve(() => undefined), match: '', timeoutMs: 0 }).read()).rejects.toThrow('503')
})
