/** The labels of HTTP metrics are the gateway's own words: a client that could make new ones could fill its memory. */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { methods } from '#mesh/grpc/descriptors.ts'
import { parseExposition } from '../../gate/exposition.ts'
import { routesOf } from '../../gateway/contract/route-table.ts'
import { type TestGateway, startGateway } from './gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.stop())

const ours = ['/ready', '/healthz', '/version', '/metrics', '/openapi.json', '/docs', '/', 'unmatched']
const allowed: Record<string, (value: string) => boolean> = {
  service: (value) => value === 'gateway',
  endpoint: (value) => ours.includes(value) || routesOf(methods.values()).some(({ endpoint }) => endpoint === value),
  method: (value) => ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'].includes(value),
  status_code: (value) => /^[2-5]\d\d$/.test(value),
  key: (value) => ['newest', 'previous', 'none'].includes(value),
  le: (value) => value === '+Inf' || Number(value) > 0,
}

test('no method, path or header of a client makes a label of its own', async () => {
  await Promise.all([gateway.call('/actions'), gateway.call('/metrics')])
  const token = fc.stringMatching(/^[A-Za-z!#$%&'*+.^_`|~-]{1,12}$/)
  const verbs = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'PURGE', 'QUERY', 'get']
  const pieces = ['actions', 'runs', 'preview', 'metrics', '%zz', '..', '%2F', '{run_id}', '"', '?a=1']
  const method = fc.oneof(fc.constantFrom(...verbs), token)
  const piece = fc.oneof(fc.constantFrom(...pieces), fc.string({ unit: 'binary-ascii' }))
  const path = fc.array(piece, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`.replaceAll(/[\0-\x20\x7f]/g, '+'))
  await fc.assert(
    fc.asyncProperty(method, path, async (verb, target) => {
      await gateway.raw(`${verb} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
    }),
  )
  const series = parseExposition((await gateway.metrics.scrape(undefined)).body).filter(({ name }) => name.startsWith('http_'))
  const seen = (label: string) => new Set(series.map(({ labels }) => labels[label]))
  expect([...seen('endpoint'), ...seen('method')]).toEqual(expect.arrayContaining(['/actions', '/metrics', 'unmatched', 'GET', 'OTHER']))
  const strange = series.flatMap(({ labels }) => Object.entries(labels)).filter(([name, value]) => !allowed[name]?.(value))
  expect(strange).toEqual([])
})
