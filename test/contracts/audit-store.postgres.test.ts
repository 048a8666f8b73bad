import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { retain } from '../../services/access/audit/retention.ts'
import type { ChainView } from '../../services/access/audit/store.ts'
import { verifyLog } from '../../services/access/audit/verify.ts'
import { type AuditDatabase, auditDatabase } from '../services/access/audit/audit-database.ts'
import { chain, eventOf, times, workspace } from '../services/access/audit/chained.ts'
import { auditStoreContract } from './audit-store.ts'

// As the service's role, which may read and add and nothing else.
auditStoreContract('Postgres', auditDatabase)

const denied = '42501'

describe('the audit log of one Postgres', () => {
  let log: AuditDatabase
  beforeAll(async () => {
    log = await auditDatabase()
  })
  afterAll(() => log.close())
  beforeEach(async () => {
    await log.tamper('TRUNCATE audit_events, audit_checkpoints')
    await log.store.append(times(12, () => eventOf()))
  })

  test.each([
    `UPDATE audit_events SET actor = 'eve'`,
    'DELETE FROM audit_events',
    'TRUNCATE audit_events',
    'SELECT * FROM audit_events FOR UPDATE',
    `INSERT INTO audit_events SELECT * FROM audit_events ON CONFLICT (event_id) DO UPDATE SET actor = 'eve'`,
    'DROP TABLE audit_events',
    'ALTER TABLE audit_events DISABLE TRIGGER ALL',
    'DELETE FROM audit_checkpoints',
    `UPDATE audit_checkpoints SET sequence = 1`,
    'CREATE TABLE mine (a int)',
  ])('the role of the service may not: %s', async (sql) => {
    expect(await log.attempt('service', sql)).toBe(denied)
  })

  test.each([
    `UPDATE audit_events SET actor = 'eve'`,
    'TRUNCATE audit_events',
    'INSERT INTO audit_events SELECT * FROM audit_events',
    'DELETE FROM audit_checkpoints',
    'SELECT * FROM api_keys',
  ])('the role of retention may not: %s', async (sql) => {
    expect(await log.attempt('retention', sql)).toBe(denied)
  })

  const beforeChrist = `to_char(occurred_at, 'YYYY-MM-DD HH24:MI:SS.MSOF') || ' BC'`
  const move = (from: number, to: number) => `UPDATE audit_events SET sequence = ${to} WHERE sequence = ${from}`
  test.each([
    ['edited', 4, `UPDATE audit_events SET actor = 'eve' WHERE sequence = 4`],
    ['edited', 4, `UPDATE audit_events SET targets = array_append(targets, 'run:1') WHERE sequence = 4`],
    ['edited', 4, `UPDATE audit_events SET targets = ARRAY[targets] WHERE sequence = 4`],
    ['edited', 4, `UPDATE audit_events SET occurred_at = occurred_at - interval '1 millisecond' WHERE sequence = 4`],
    ['edited', 4, `UPDATE audit_events SET occurred_at = 'infinity' WHERE sequence = 4`],
    // The same day and hour of the same year, before Christ.
    ['edited', 4, `UPDATE audit_events SET occurred_at = (${beforeChrist})::timestamptz WHERE sequence = 4`],
    ['edited', 4, `UPDATE audit_events SET mac = sha256(mac) WHERE sequence = 4`],
    ['edited', 4, `UPDATE audit_events SET version = 2 WHERE sequence = 4`],
    ['deleted', 4, 'DELETE FROM audit_events WHERE sequence = 4'],
    ['deleted', 1, 'DELETE FROM audit_events WHERE sequence < 4'],
    // Sequences are unique at every moment: in steps.
    ['deleted', 4, ['DELETE FROM audit_events WHERE sequence = 4', ...times(8, (index) => move(index + 5, index + 4))].join('; ')],
    ['reordered', 4, `${move(4, 99)}; ${move(7, 4)}; ${move(99, 7)}`],
    ['reordered', 4, move(4, 20)],
  ])('says %s at %i of: %s', async (fault, sequence, sql) => {
    for (const step of sql.split('; ')) await log.tamper(step)
    const { findings } = await log.verify()
    expect(findings).toMatchObject([{ workspace, fault, sequence }])
  })

  const copyOfTheLast = (sequence: number) => `INSERT INTO audit_events
    SELECT workspace, ${sequence}, gen_random_uuid(), version, recorded_at, occurred_at, service, action, outcome, reason,
      'eve', key_id, targets, request_id, trace_id, source, count, mac FROM audit_events WHERE sequence = 12`

  test('what a role without the key adds is found', async () => {
    expect(await log.attempt('service', copyOfTheLast(13))).toBe('done')
    await log.store.append([eventOf()])
    expect((await log.verify()).findings).toMatchObject([{ fault: 'edited', sequence: 13 }])
  })

  test('a chain is verified as it stands at one moment, whatever is added and cut meanwhile', async () => {
    await log.store.append(times(1500, () => eventOf()))
    const verdict = await log.chains.look((view) => {
      const meddled: ChainView = {
        workspaces: () => view.workspaces(),
        async *checkpoints(of) {
          yield* view.checkpoints(of)
          expect(await retain({ chain, cutter: log.cutter, ageMs: 1, max: 100 })).toMatchObject([{ removed: 1512 }])
          await log.replica().append([eventOf()])
        },
        entries: (of) => view.entries(of),
        last: (of) => view.last(of),
        macs: (of, sequences) => view.macs(of, sequences),
      }
      return verifyLog({ chain, view: meddled })
    })
    expect(verdict).toEqual({ findings: [], workspaces: 1, entries: 1512, heads: 0 })
    expect(await log.verify()).toEqual({ findings: [], workspaces: 1, entries: 1, heads: 0 })
  })

  test('rows are verified also where somebody removed what keeps sequences unique', async () => {
    await log.tamper('ALTER TABLE audit_events DROP CONSTRAINT audit_events_pkey')
    try {
      await log.tamper(copyOfTheLast(12))
      expect((await log.verify()).findings).toMatchObject([{ sequence: 12 }])
    } finally {
      await log.tamper('TRUNCATE audit_events')
      await log.tamper('ALTER TABLE audit_events ADD PRIMARY KEY (workspace, sequence)')
    }
  })
})
