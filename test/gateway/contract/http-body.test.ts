import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { HttpBody } from '#gen/google/api/httpbody.ts'
import { AuditServiceService, type ExportEventsRequest, type ListEventsRequest } from '#gen/relay/access/v1/audit.ts'
import { methods } from '#mesh/grpc/descriptors.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer, served } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { key } from '#mesh/telemetry/names.ts'
import { readHttpBody } from '../../../gateway/contract/http-body.ts'
import { nextPageLink } from '../../../gateway/contract/next-page.ts'
import { openApi } from '../../../gateway/docs/openapi.ts'
import { routesOf } from '../../../gateway/contract/route-table.ts'
import { fakeMesh } from '../../fakes/identity.ts'
import { type TestGateway, startGateway } from '../gateway.ts'

const lines = '{"sequence":1}\n{"sequence":2}\n'
const mesh = fakeMesh()
/** Three pages, told by their number. */
let body: HttpBody
let requests: (ExportEventsRequest | ListEventsRequest)[]

const audit = new GrpcServer({
  services: [
    served(AuditServiceService, {
      appendEvents: async () => ({}),
      async listEvents(request, call) {
        requests.push(request)
        if (request.pageToken === '') call.reply(key.nextPage, 'next')
        return { events: [], nextPageToken: '', requestId: call.requestId }
      },
      async exportEvents(request, call) {
        requests.push(request)
        const page = Number(request.pageToken || 1)
        if (page < 3) call.reply(key.nextPage, String(page + 1))
        return body
      },
    }),
  ],
  verifier: mesh.verifierFor('access'),
  health: new Health({ services: [] }),
  log: createLogger('access', 'silent'),
  metrics: new Metrics('access'),
})
let gateway: TestGateway
beforeAll(async () => {
  const port = await audit.listen({ host: '127.0.0.1', port: 0 })
  gateway = await startGateway({ UPSTREAMS: `access=127.0.0.1:${port},actions=127.0.0.1:1` }, {}, mesh)
})
afterAll(async () => {
  await gateway.stop()
  await audit.drain(0)
})
beforeEach(() => {
  requests = []
  body = { contentType: 'application/x-ndjson', data: Buffer.from(lines), extensions: [] }
})

describe('an answer that is no JSON', () => {
  test('comes as the service made it, under the content type that the service names', async () => {
    const response = await gateway.call('/access/audit/export')
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/x-ndjson')
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    expect(await response.text()).toBe(lines)
  })

  test('may be any bytes, or none', async () => {
    const bytes = Buffer.from([0, 255, 195, 40, 13, 10, 0])
    for (const data of [bytes, Buffer.alloc(0)]) {
      body = { contentType: 'application/octet-stream', data, extensions: [] }
      expect(Buffer.from(await (await gateway.call('/access/audit/export')).arrayBuffer())).toEqual(data)
    }
  })

  test.each(['', 'text', 'text/html\r\nset-cookie: a=b', 'a/b, c/d', 'a/b;', 'ä/b'])(
    'is not sent under %j, which is no content type',
    async (contentType) => {
      body = { contentType, data: Buffer.from('x'), extensions: [] }
      const response = await gateway.call('/access/audit/export')
      expect(response.status).toBe(500)
      expect(response.headers.has('set-cookie')).toBe(false)
      expect(await response.json()).toMatchObject({ reason: 'INTERNAL' })
    },
  )

  test.each(['text/csv; charset=utf-8', 'application/vnd.relay+json;profile=a.b'])('is sent under %s', (contentType) => {
    // contentType is field 1: its tag, its length, its text.
    const bytes = Buffer.concat([Buffer.from([0x0a, contentType.length]), Buffer.from(contentType)])
    expect(readHttpBody(bytes)).toEqual({ type: contentType, body: Buffer.alloc(0) })
  })

  test('stands in the OpenAPI document as bytes of any type, with the header that leads on', () => {
    const { paths } = openApi(routesOf(methods.values()), { version: '1', reasons: [] })
    expect(paths['/access/audit/export']!.get!.responses['200']).toMatchObject({
      headers: { Link: { $ref: '#/components/headers/Link' } },
      content: { '*/*': { schema: { type: 'string', format: 'binary' } } },
    })
    expect(paths['/access/audit']!.get!.responses['200']).not.toHaveProperty('headers.Link')
  })
})

describe('the next page', () => {
  test('is named by Link, to be followed until there is none', async () => {
    const links: (string | null)[] = []
    for (let path: string | undefined = '/access/audit/export?from=2026-01-01T00:00:00Z&page_size=2'; path !== undefined;) {
      const { headers }: Response = await gateway.call(path)
      links.push(headers.get('link'))
      path = /^<([^>]+)>; rel="next"$/.exec(links.at(-1) ?? '')?.[1]
    }
    const first = '/access/audit/export?from=2026-01-01T00%3A00%3A00Z&page_size=2'
    expect(links).toEqual([`<${first}&page_token=2>; rel="next"`, `<${first}&page_token=3>; rel="next"`, null])
    expect(requests).toMatchObject(['', '2', '3'].map((pageToken) => ({ pageToken, from: '2026-01-01T00:00:00Z', pageSize: 2 })))
  })

  test('is named for JSON too, where the service says that there is one', async () => {
    expect((await gateway.call('/access/audit')).headers.get('link')).toBe('</access/audit?page_token=next>; rel="next"')
    expect((await gateway.call('/access/audit?page_token=next')).headers.has('link')).toBe(false)
  })

  test('may be followed by pages of other origins', async () => {
    const studio = await startGateway({ CORS_ORIGINS: 'https://studio.example' })
    const { headers } = await studio.call('/actions', { headers: { origin: 'https://studio.example' } })
    expect(headers.get('access-control-expose-headers')!.split(', ')).toContain('Link')
    await studio.stop()
  })

  test.each([
    ['/a?x=1&page_token=old&y=2&page_token=older', 't', '</a?x=1&page_token=t&y=2>; rel="next"'],
    ['/a', 'a b&c=d>"é', '</a?page_token=a+b%26c%3Dd%3E%22%C3%A9>; rel="next"'],
    ['/a?x=">;rel=evil<', 't', '</a?x=%22%3E%3Brel%3Devil%3C&page_token=t>; rel="next"'],
    ['http://elsewhere/a?x=1', 't', '</a?x=1&page_token=t>; rel="next"'],
  ])('of %s keeps the rest of the request, and nothing in it gets out of the brackets', (url, token, link) =>
    expect(nextPageLink(url, token)).toBe(link),
  )
})
