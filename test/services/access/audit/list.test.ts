import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { Database, type Queries } from '#mesh/postgres/database.ts'
import { exportPage } from '../../../../services/access/audit/export.ts'
import { listEntries } from '../../../../services/access/audit/store.list.postgres.ts'
import type { EntryFilter, EntryQuery } from '../../../../services/access/audit/store.ts'
import { type FreshDatabase, freshDatabase } from '../../../setup/database.ts'

/** One entry per second, all but every thousandth told at once: that one waited a day in an outbox. */
const length = 120_000
let fresh: FreshDatabase
let database: Database
beforeAll(async () => {
  fresh = await freshDatabase('services/access/migrations')
  database = new Database({ url: new Secret(fresh.url), log: pino({ level: 'silent' }), statementMs: 100_000 })
  await database.pool.query(
    `INSERT INTO audit_events (workspace, sequence, event_id, version, recorded_at, occurred_at, service, action, outcome, reason, actor, key_id, targets,
       request_id, trace_id, source, count, mac)
     SELECT 'acme', at, lpad(to_hex(at), 32, '0')::uuid, 1, '2026-01-01T00:00:00Z'::timestamptz + at * interval '1 second',
       '2026-01-01T00:00:00Z'::timestamptz + (at - CASE WHEN at % 1000 = 0 THEN 86400 ELSE 0 END) * interval '1 second', 'access',
       CASE WHEN at <= 60 THEN 'rare' ELSE 'usual' END, 'success', '', CASE WHEN at <= 60 OR at % 2 = 0 THEN 'ada' ELSE 'eve' END, '', '{}', '', '', '', 1,
       decode(repeat('00', 32), 'hex') FROM generate_series(1, $1) AS at`,
    [length],
  )
  await database.pool.query('VACUUM ANALYZE audit_events')
}, 200_000)
afterAll(async () => {
  await database?.close()
  await fresh?.drop()
})

const timeOf = (second: number) => new Date(Date.parse('2026-01-01T00:00:00Z') + second * 1000).toISOString()
const occurred = (sequence: number) => sequence - (sequence % 1000 === 0 ? 86_400 : 0)
const query = (filter: EntryFilter, order: EntryQuery['order'], after?: number): EntryQuery => ({
  workspace: 'acme',
  filter,
  order,
  limit: 50,
  after,
})

/** With how many statements a page was found. */
async function page(asked: EntryQuery) {
  let statements = 0
  const counted: Queries = { query: (...args) => ((statements += 1), database.query(...args)) }
  return { ...(await listEntries(counted, asked)), statements }
}

test.each<[EntryQuery['order'], EntryFilter, number]>([
  ['newest first', { until: timeOf(60_000) }, 60_000],
  ['oldest first', { from: timeOf(60_000) }, 60_000],
  ['newest first', { from: timeOf(119_990) }, 119_990],
  ['oldest first', { until: timeOf(10) }, 10],
])('%s, a period is found without walking the chain to it: %o', async (order, filter, at) => {
  const { entries, statements } = await page(query(filter, order))
  expect(statements).toBeLessThanOrEqual(4)
  const period = { from: filter.from === undefined ? -Infinity : at, until: filter.until === undefined ? Infinity : at }
  const all = Array.from({ length }, (_, index) => index + 1).filter(
    (each) => occurred(each) >= period.from && occurred(each) < period.until,
  )
  expect(entries.map(({ sequence }) => sequence)).toEqual((order === 'newest first' ? all.toReversed() : all).slice(0, 50))
})

test('what is rare is found page by page, each within its bound, and none is left out or told twice', async () => {
  const seen: number[] = []
  let pages = 0
  let after: number | undefined
  do {
    const found = await page(query({ actor: 'ada', action: 'rare' }, 'newest first', after))
    expect(found.statements).toBeLessThanOrEqual(10)
    seen.push(...found.entries.map(({ sequence }) => sequence))
    after = found.next
    pages += 1
  } while (after !== undefined)
  expect(seen).toEqual(Array.from({ length: 60 }, (_, index) => 60 - index))
  expect(pages).toBeGreaterThan(2)
})

test('an export goes on after a page with fewer entries than were asked for', async () => {
  const store = { list: (asked: EntryQuery) => listEntries(database, asked) }
  const lines: string[] = []
  let after: number | undefined
  do {
    const { data, next } = await exportPage(store, {
      workspace: 'acme',
      filter: { from: timeOf(0), until: timeOf(300) },
      limit: 100,
      after,
    })
    lines.push(...data.toString().split('\n').filter(Boolean))
    after = next
  } while (after !== undefined)
  const expected = Array.from({ length }, (_, index) => index + 1).filter((each) => occurred(each) >= 0 && occurred(each) < 300)
  expect(lines.map((line) => Number((JSON.parse(line) as { sequence: string | number }).sequence))).toEqual(expected)
})
