import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HttpBody } from '#gen/google/api/httpbody.ts'
import { type AuditEntry, AuditServiceService, type ExportEventsRequest, type ListEventsRequest } from '#gen/relay/access/v1/audit.ts'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { key } from '#mesh/telemetry/names.ts'
import { AuditLog } from '../../../../services/access/audit/log.ts'
import { auditService } from '../../../../services/access/audit/service.ts'
import { instruments } from '../../../../services/access/metrics.ts'
import { fakeMesh } from '../../../fakes/identity.ts'
import { type AuditDatabase, auditDatabase } from './audit-database.ts'
import { eventOf, times } from './chained.ts'

describe('the audit service', () => {
  const mesh = fakeMesh()
  let log: AuditDatabase
  let server: GrpcServer
  let channel: Channel
  let address: string
  beforeAll(async () => {
    log = await auditDatabase()
    const metrics = new Metrics('access')
    const auditLog = new AuditLog({ store: log.store, heads: { note: () => undefined }, instruments: instruments(metrics) })
    server = new GrpcServer({
      services: [auditService({ log: auditLog, store: log.store })],
      verifier: mesh.verifierFor('access'),
      health: new Health({ services: ['relay.access.v1.AuditService'] }),
      log: createLogger('access', 'silent'),
      metrics,
    })
    address = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`
    channel = new Channel({ address, peerToken: mesh.peerToken('tester') })
  })
  afterAll(async () => {
    channel.close()
    await server.drain(0)
    await log.close()
  })

  const client = () => methodsOf(AuditServiceService, channel)
  const asCaller = (workspace: string, permissions = ['audit:read']) => ({
    ...ownContext(),
    callerToken: mesh.callerToken({ workspace, permissions }),
  })
  const append = (events: AuditEvent[]) => {
    const messages = events.map((event) => ({ ...event, targets: [...event.targets] }))
    return client().appendEvents({ events: messages }, ownContext())
  }
  const listRequest: ListEventsRequest = {
    pageSize: 0,
    pageToken: '',
    action: '',
    outcome: '',
    actor: '',
    keyId: '',
    target: '',
    from: '',
    until: '',
  }
  const list = (workspace: string, over: Partial<ListEventsRequest> = {}) =>
    client().listEvents({ ...listRequest, ...over }, asCaller(workspace))
  const exported = async (workspace: string, over: Partial<ExportEventsRequest> = {}) => {
    const { path, requestSerialize } = AuditServiceService.exportEvents
    const request = requestSerialize({ pageSize: 0, pageToken: '', from: '', until: '', ...over })
    const { response, replies } = await channel.call(path, request, asCaller(workspace))
    const { contentType, data } = HttpBody.decode(response)
    return { contentType, text: data.toString(), next: replies.get(key.nextPage)[0] as string | undefined }
  }
  const exportAll = async (workspace: string, pageSize: number) => {
    let text = ''
    let pages = 0
    for (let pageToken: string | undefined = ''; pageToken !== undefined; pages += 1) {
      const page = await exported(workspace, { pageSize, pageToken })
      text += page.text
      pageToken = page.next
    }
    return { text, pages }
  }
  const linesOf = (text: string) =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>)

  test('takes the events of a service once, and lists them to their workspace, newest first', async () => {
    const events = times(3, () => eventOf({ workspace: 'listed' }))
    await append(events)
    await append(events)
    const { events: entries, nextPageToken } = await list('listed')
    expect(nextPageToken).toBe('')
    const places = entries.map(({ sequence, eventId }) => [sequence, eventId])
    expect(places).toEqual([3, 2, 1].map((sequence) => [sequence, events[sequence - 1]!.eventId]))
    const { workspace: _, ...told } = events[2]!
    const { recordedAt, mac, ...entry } = entries[0]!
    expect(entry).toEqual({ ...told, sequence: 3 })
    expect(recordedAt).toMatch(/^\d{4}-.*\.\d{3}Z$/)
    expect(mac).toMatch(/^[0-9a-f]{64}$/)
  })

  test('takes no event that another service is said to have acted in, and none beside it', async () => {
    const events = [eventOf({ workspace: 'claimed' }), eventOf({ workspace: 'claimed', service: 'access' })]
    await expect(append(events)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect((await list('claimed')).events).toEqual([])
  })

  test('takes nothing from callers, and shows nothing to peers or to callers without audit:read', async () => {
    const outside = new Channel({ address })
    try {
      const nobody = methodsOf(AuditServiceService, outside)
      await expect(nobody.appendEvents({ events: [] }, asCaller('acme'))).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
      await expect(client().listEvents(listRequest, ownContext())).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
      const other = asCaller('acme', ['actions:read', 'keys:admin'])
      await expect(client().listEvents(listRequest, other)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    } finally {
      outside.close()
    }
  })

  test('refuses an event that is none by field, so that its sender can tell which', async () => {
    await expect(append([eventOf(), eventOf({ reason: 'not in capitals' })])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      violations: [expect.objectContaining({ field: 'events[1].reason' })],
    })
    await expect(append([eventOf({ workspace: 'a\0b' })])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('never shows the entries of another workspace, nor those of none, whatever is asked for', async () => {
    const target = 'run:shared'
    await append(['one', 'two', ''].map((workspace) => eventOf({ workspace, targets: [target] })))
    const { events } = await list('one', { target })
    expect(events).toHaveLength(1)
    const token = (await append(times(3, () => eventOf({ workspace: 'two' }))), (await list('two', { pageSize: 2 })).nextPageToken)
    expect((await list('one', { pageToken: token })).events.map(({ eventId }) => eventId)).toEqual(events.map(({ eventId }) => eventId))
    expect(linesOf((await exported('one')).text).map((line) => line['event_id'])).toEqual(events.map(({ eventId }) => eventId))
    expect((await list('three')).events).toEqual([])
  })

  test('pages through what there was when it began, while others append, and filters', async () => {
    const workspace = 'paged'
    const time = (index: number) => `2026-01-31T12:00:00.${String(index).padStart(3, '0')}Z`
    await append(times(23, (index) => eventOf({ workspace, actor: index % 2 === 0 ? 'ann' : 'bob', occurredAt: time(index) })))
    const seen: AuditEntry[] = []
    let pageToken = ''
    do {
      const page = await list(workspace, { pageSize: 5, pageToken, actor: 'ann' })
      seen.push(...page.events)
      pageToken = page.nextPageToken
      await append([eventOf({ workspace })])
    } while (pageToken !== '')
    expect(seen.map(({ sequence }) => sequence)).toEqual(times(12, (index) => 23 - 2 * index))
    const between = await list(workspace, { from: '2026-01-31T13:00:00.003+01:00', until: '2026-01-31T12:00:00.005Z' })
    expect(between.events.map(({ sequence }) => sequence)).toEqual([5, 4])
  })

  test.each<[string, Partial<ListEventsRequest>]>([
    ['page_token', { pageToken: 'x' }],
    ['page_token', { pageToken: Buffer.from('after -1').toString('base64url') }],
    ['page_token', { pageToken: Buffer.from('after 1 OR 1=1').toString('base64url') }],
    ['from', { from: 'yesterday' }],
    ['until', { until: '2026-13-01T00:00:00Z' }],
    ['from', { from: '2026-02-30T00:00:00Z' }],
    ['from', { from: '2026-01-31T24:00:00Z' }],
    ['until', { until: '2016-12-31T23:59:60Z' }],
    ['until', { until: '9999-12-31T23:59:59-01:00' }],
    ['actor', { actor: 'a\0' }],
    ['key_id', { keyId: '\0' }],
  ])('refuses a wrong %s by name: %o', async (field, over) => {
    await expect(list('acme', over)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', violations: [expect.objectContaining({ field })] })
  })

  test('from a year that Postgres does not have is from the beginning', async () => {
    await append([eventOf({ workspace: 'ancient' })])
    expect((await list('ancient', { from: '0000-01-01T00:00:00Z' })).events).toHaveLength(1)
    expect((await list('ancient', { until: '0000-01-01T00:00:00Z' })).events).toEqual([])
  })

  test('exports lines, oldest first, that join to the whole whatever the pages, as they are listed', async () => {
    const workspace = 'exported'
    await append(times(31, () => eventOf({ workspace })))
    const once = await exported(workspace)
    expect(once).toMatchObject({ contentType: 'application/x-ndjson', next: undefined })
    for (const size of [1, 7, 30, 31, 32]) {
      expect(await exportAll(workspace, size)).toEqual({ text: once.text, pages: Math.ceil(31 / size) })
    }
    const listed = (await list(workspace, { pageSize: 500 })).events.toReversed()
    const snakeName = (name: string) => name.replace(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`)
    const snake = (entry: object) => Object.fromEntries(Object.entries(entry).map(([name, value]) => [snakeName(name), value as unknown]))
    expect(linesOf(once.text)).toEqual(listed.map(snake))
    expect(await exported('nobody')).toMatchObject({ text: '', next: undefined })
  })

  test('exports a page that would be too large for a message in several', async () => {
    const workspace = 'large'
    const targets = times(16, (index) => `run:${'x'.repeat(150)}${index}`)
    for (let round = 0; round < 7; round += 1) await log.store.append(times(200, () => eventOf({ workspace, targets })))
    const { text, pages } = await exportAll(workspace, 5000)
    expect(pages).toBe(2)
    expect(linesOf(text).map((line) => line['sequence'])).toEqual(times(1400, (index) => index + 1))
  })
})
