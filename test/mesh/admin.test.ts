import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Admin, serveAdmin } from '#mesh/admin.ts'
import { Health } from '#mesh/grpc/health.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { until } from '../fixtures/mesh/until.ts'

let admin: Admin
let redisUp = true
let postgresUp = true
const need = (up: () => boolean) => async () => {
  if (!up()) throw new Error('it is away')
}
beforeAll(async () => {
  const metrics = new Metrics('tested')
  metrics.counter('things_total', 'Things', ['kind']).inc({ kind: 'good' })
  const checks = { postgres: need(() => postgresUp), redis: need(() => redisUp) }
  admin = await serveAdmin({ host: '127.0.0.1', port: 0 }, { metrics, health: new Health({ services: [], checks, optional: ['redis'] }) })
})
afterAll(() => admin.close())
const get = (path: string) => fetch(`http://127.0.0.1:${admin.port}${path}`)

test('metrics are served in Prometheus’s text format by default', async () => {
  const response = await get('/metrics?x=1')
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
  expect(await response.text()).toContain('things_total{kind="good",service="tested"} 1')
})

test('metrics are served as OpenMetrics on request', async () => {
  const accept = 'application/openmetrics-text;version=1.0.0,*/*;q=0.1'
  const response = await fetch(`http://127.0.0.1:${admin.port}/metrics`, { headers: { accept } })
  expect(response.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
  expect(await response.text()).toMatch(/\nthings_total\{kind="good",service="tested"\} 1\n(?:.*\n)*# EOF\n$/)
})

test('a running process is healthy, and ready while its required dependencies respond', async () => {
  expect((await get('/healthz')).status).toBe(200)
  const ready = await get('/readyz')
  expect([ready.status, await ready.json()]).toEqual([200, { ready: true, checks: { postgres: true, redis: true } }])

  redisUp = false
  await until('redis is seen to be away', async () => (await (await get('/readyz')).text()).includes('"redis":false'))
  expect((await get('/readyz')).status).toBe(200)

  postgresUp = false
  await until('it is not ready', async () => (await get('/readyz')).status === 503)
  expect(await (await get('/readyz')).json()).toEqual({ ready: false, checks: { postgres: false, redis: false } })
  expect((await get('/healthz')).status).toBe(200)
})

test.each(['/', '/metrics/', '//metrics', '/%00', '/constructor'])('%s says what there is instead', async (path) => {
  const response = await get(path)
  expect([response.status, await response.json()]).toEqual([404, { error: 'try /metrics, /healthz or /readyz' }])
})

test('closing does not wait for idle connections', async () => {
  const other = await serveAdmin({ host: '127.0.0.1', port: 0 }, { metrics: new Metrics('other'), health: new Health({ services: [] }) })
  const socket = connect(other.port, '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(socket, 'data')
  await other.close()
  await until('the connection is closed', () => socket.destroyed)
  await expect(fetch(`http://127.0.0.1:${other.port}/healthz`)).rejects.toThrow('fetch failed')
})

test('a taken port is an error', async () => {
  await expect(
    serveAdmin({ host: '127.0.0.1', port: admin.port }, { metrics: new Metrics('x'), health: new Health({ services: [] }) }),
  ).rejects.toThrow('EADDRINUSE')
})
