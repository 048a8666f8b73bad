import { randomUUID } from 'node:crypto'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { AuditOutbox, type AuditOutboxStore } from '#mesh/audit/outbox.ts'
import { auditOutboxStore } from '#mesh/audit/outbox.postgres.ts'
import { Secret } from '#mesh/config.ts'
import { Database, type Queries } from '#mesh/postgres/database.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'
import { FakeLog, anEvent } from './events.ts'

let fresh: FreshDatabase
let database: Database
let store: AuditOutboxStore
let lines: Record<string, unknown>[]
let outboxes: AuditOutbox[]
let audit: FakeLog

beforeAll(async () => {
  fresh = await freshDatabase('services/actions/migrations')
  database = new Database({ url: new Secret(fresh.url), log: pino({ level: 'silent' }) })
  store = auditOutboxStore(database, 'test')
})
beforeEach(() => {
  lines = []
  outboxes = []
  audit = new FakeLog()
})
afterEach(async () => {
  await Promise.all(outboxes.map((outbox) => outbox.stop()))
  await database.pool.query('DELETE FROM audit_outbox')
})
afterAll(async () => {
  await database?.close()
  await fresh?.drop()
})

const log = pino({ level: 'debug' }, new Writable({ write: (line, _, done) => (lines.push(JSON.parse(String(line))), done()) }))

/** Not started: a round is what `relay` does. */
function outboxOf(parts: { store?: AuditOutboxStore; intervalMs?: number; metrics?: Metrics } = {}): AuditOutbox {
  const outbox = new AuditOutbox({ store, append: audit.append, log, intervalMs: 3_600_000, metrics: new Metrics('test'), ...parts })
  outboxes.push(outbox)
  return outbox
}

const insert = { name: 'test.audit', text: 'INSERT INTO audit_outbox (event_id, event) VALUES ($1::uuid, $2)' }
async function write(events: readonly AuditEvent[], harness: Queries = database): Promise<void> {
  for (const event of events) await harness.query(insert, [event.eventId, JSON.stringify(event)])
}
const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make)
const ids = (events: readonly AuditEvent[]) => events.map(({ eventId }) => eventId).sort()
const waiting = async (): Promise<string[]> => {
  const { rows } = await database.pool.query<{ event_id: string }>('SELECT event_id FROM audit_outbox ORDER BY event_id')
  return rows.map((row) => row.event_id)
}
/** Its clock cannot be set, but what it is compared with can. */
const later = (ms: number) => database.pool.query(`UPDATE audit_outbox SET due_at = due_at - $1 * interval '1 millisecond'`, [ms])

describe('an audit outbox', () => {
  test('sends what was committed, as it was written, and is empty afterwards', async () => {
    const events = [anEvent(), anEvent({ outcome: 'failed', reason: 'HTTP_500', targets: ['run:1', 'preview:2'] })]
    await write(events)
    await outboxOf().relay()
    expect([...audit.taken.values()]).toEqual(events)
    expect(await waiting()).toEqual([])
  })

  test('never sends an event whose act was rolled back, and none before its act commits', async () => {
    const [lost, kept] = [anEvent(), anEvent()]
    const outbox = outboxOf()
    await expect(
      database.transaction(async (queries) => {
        await write([lost], queries)
        throw new Error('the act failed')
      }),
    ).rejects.toThrow('the act failed')
    await database.transaction(async (queries) => {
      await write([kept], queries)
      await outbox.relay()
      expect(audit.came).toEqual([])
    })
    await outbox.relay()
    expect(audit.came).toEqual([kept.eventId])
  })

  test('whose sender dies after the log accepted the event and before that was recorded sends it again under the same id', async () => {
    const event = anEvent()
    await write([event])
    const dying = outboxOf({ store: { ...store, sent: () => Promise.reject(new Error('killed')) } })
    await expect(dying.relay()).rejects.toThrow('killed')
    const next = outboxOf()
    // While the first one may still be at it, nobody else is.
    await next.relay()
    expect(audit.came).toEqual([event.eventId])
    await later(60_000)
    await next.relay()
    expect(audit.came).toEqual([event.eventId, event.eventId])
    expect(audit.taken.size).toBe(1)
    expect(await waiting()).toEqual([])
  })

  test('with several senders has every event sent, and none by two of them', async () => {
    const events = times(500, () => anEvent())
    await write(events)
    const drain = async (outbox: AuditOutbox) => {
      while (await outbox.relay());
    }
    const senders = times(4, () => outboxOf())
    await Promise.all(senders.map(drain))
    await Promise.all(senders.map(drain))
    expect(audit.came.toSorted()).toEqual(ids(events))
    expect(await waiting()).toEqual([])
  })

  test('skips rows that another sender has claimed, without waiting', async () => {
    const [held, free] = [anEvent(), anEvent()]
    await write([held, free])
    const other = await database.pool.connect()
    try {
      await other.query('BEGIN')
      await other.query('SELECT 1 FROM audit_outbox WHERE event_id = $1 FOR UPDATE', [held.eventId])
      await outboxOf().relay()
      expect(audit.came).toEqual([free.eventId])
    } finally {
      await other.query('ROLLBACK')
      other.release()
    }
  })

  test('makes a rejected event a dead letter, logs it once, and sends all the others', async () => {
    const [bad, good] = [anEvent({ action: 'NOT an action' }), times(49, () => anEvent())]
    await write([...good.slice(0, 20), bad, ...good.slice(20)])
    const outbox = outboxOf()
    await outbox.relay()
    await outbox.relay()
    expect(ids([...audit.taken.values()])).toEqual(ids(good))
    expect(await waiting()).toEqual([bad.eventId])
    const said = lines.filter(({ level }) => level === 50)
    expect(said).toEqual([expect.objectContaining({ event_id: bad.eventId })])
    expect(said[0]!.violations).toEqual([expect.objectContaining({ field: 'events.0.action' })])
    expect(await store.backlog()).toMatchObject({ count: 0, deadLetters: 1 })
    // Tried again a day later: by then access may know such events.
    await later(24 * 3_600_000)
    expect(await store.backlog()).toMatchObject({ count: 1, deadLetters: 0 })
  })

  test('makes an invalid event a dead letter without sending it', async () => {
    const good = anEvent()
    for (const text of ['{', '{"eventId":"x"}', JSON.stringify({ ...good, eventId: randomUUID() })]) {
      await database.query(insert, [randomUUID(), text])
    }
    await write([good])
    await outboxOf().relay()
    expect(audit.came).toEqual([good.eventId])
    expect(await store.backlog()).toMatchObject({ count: 0, deadLetters: 3 })
  })

  test('keeps everything while the log is unavailable, shows its size and age, and sends it afterwards', async () => {
    const events = times(450, () => anEvent())
    await write(events)
    audit.away = true
    const counted = new Metrics('test')
    const outbox = outboxOf({ intervalMs: 20, metrics: counted })
    outbox.start()
    await until('it was tried several times', () => audit.calls > 3)
    expect(await waiting()).toEqual(ids(events))
    const gauges = await counted.registry.metrics()
    expect(gauges).toMatch(/audit_outbox_backlog\{[^}]*\} 450/)
    expect(Number(/audit_outbox_lag_seconds\{[^}]*\} (\S+)/.exec(gauges)?.[1])).toBeGreaterThan(0)
    // Said once an outage, not once a round.
    expect(lines.filter(({ level }) => level === 40)).toHaveLength(1)
    audit.away = false
    await until('nothing waits', async () => (await waiting()).length === 0, 15_000)
    expect(audit.came.toSorted()).toEqual(ids(events))
    expect(await store.backlog()).toEqual({ count: 0, lagMs: 0, deadLetters: 0 })
  })

  test('sends soon after a wake-up, long before its poll', async () => {
    const outbox = outboxOf({ intervalMs: 3_600_000 })
    outbox.start()
    const event = anEvent()
    await write([event])
    outbox.poke()
    await until('it was sent', () => audit.taken.size > 0, 2000)
    expect(audit.came).toEqual([event.eventId])
  })

  test('sends acts in quick succession together', async () => {
    const outbox = outboxOf({ intervalMs: 3_600_000 })
    outbox.start()
    const events = times(20, () => anEvent())
    const act = async (event: AuditEvent) => {
      await write([event])
      outbox.poke()
    }
    await Promise.all(events.map(act))
    await until('all are sent', () => audit.taken.size === events.length)
    expect(audit.calls).toBeLessThan(events.length / 2)
  })

  test('of a thousand events loses none in three outages, with lost responses and dying senders, and none is appended twice', async () => {
    const events = times(1000, () => anEvent())
    let outages = 0
    const { append } = audit
    const unsteady = async (batch: readonly AuditEvent[]) => {
      await append(batch)
      // Every third answer is lost: what it was about comes again.
      if (audit.calls % 3 === 0) throw new Error('the answer was lost')
    }
    const begin = () => {
      const outbox = new AuditOutbox({ store, append: unsteady, log, metrics: new Metrics('test'), intervalMs: 10 })
      outboxes.push(outbox)
      outbox.start()
      return outbox
    }
    let senders = [begin(), begin()]
    for (let written = 0; written < events.length; written += 100) {
      await write(events.slice(written, written + 100))
      if (written % 300 !== 0 || outages === 3) continue
      outages += 1
      audit.away = true
      const { calls } = audit
      await until('both met the outage', () => audit.calls > calls + 1)
      await Promise.all(senders.map((sender) => sender.stop()))
      audit.away = false
      senders = [begin(), begin()]
    }
    await until('nothing waits', async () => (await waiting()).length === 0, 30_000)
    expect(outages).toBe(3)
    expect(ids([...audit.taken.values()])).toEqual(ids(events))
    expect(audit.came.length).toBeGreaterThan(events.length)
  }, 60_000)

  test('whose own database is unavailable sends nothing, and finds everything afterwards', async () => {
    const event = anEvent()
    await write([event])
    const cut = outboxOf({ store: { ...store, take: () => Promise.reject(new Error('away')) } })
    await expect(cut.relay()).rejects.toThrow('away')
    expect(audit.calls).toBe(0)
    await outboxOf().relay()
    expect(audit.came).toEqual([event.eventId])
  })
})
