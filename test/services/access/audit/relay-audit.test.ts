import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Entry } from '../../../../services/access/audit/chain.ts'
import { headLine } from '../../../../services/access/audit/heads.ts'
import { startProcess } from '../../../fixtures/mesh/process.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { type AuditDatabase, auditDatabase } from './audit-database.ts'
import { chain, eventOf, secret, times, workspace } from './chained.ts'

const cli = join(import.meta.dirname, '../../../../services/access/relay-audit.cli.ts')

describe('relay-audit', () => {
  let log: AuditDatabase
  let folder: string
  let entries: Entry[]
  beforeAll(async () => {
    log = await auditDatabase()
    folder = mkdtempSync(join(tmpdir(), 'relay-audit-'))
  })
  afterAll(async () => {
    rmSync(folder, { recursive: true })
    await log.close()
  })
  beforeEach(async () => {
    await log.tamper('TRUNCATE audit_events, audit_checkpoints')
    entries = await log.store.append(times(12, () => eventOf()))
    await log.store.append(times(3, () => eventOf({ workspace: 'other' })))
  })

  const run = async (args: string[], env: Record<string, string> = {}) => {
    const { ended, text } = startProcess(cli, { DATABASE_URL: log.urls.service, AUDIT_HMAC_KEY: secret, ...env }, args)
    return { code: await ended, ...text }
  }
  const headsFile = (...lines: string[]): string => {
    const path = join(folder, 'heads.ndjson')
    writeFileSync(path, lines.join(''))
    return path
  }
  const head = (sequence: number) => headLine(chain.state('head', workspace, entries[sequence - 1]!, '2026-02-01T00:00:00.000Z'))

  test('verify finds an intact log intact, with its own heads', async () => {
    const told = await run(['heads'])
    expect(told).toMatchObject({ code: 0, stderr: '' })
    expect(told.stdout.split('\n')).toHaveLength(3)
    await log.store.append([eventOf()])
    const found = await run(['verify', '--heads', headsFile(told.stdout)])
    expect(found).toEqual({ code: 0, stdout: 'intact: 2 workspaces, 16 entries, 2 heads\n', stderr: '' })
  })

  const move = (from: number, to: number) => `UPDATE audit_events SET sequence = ${to} WHERE workspace = 'acme' AND sequence = ${from}`
  const remove = (which: string) => `DELETE FROM audit_events WHERE workspace = 'acme' AND sequence ${which}`
  test.each<[string, number, string[], number]>([
    ['edited', 5, [`UPDATE audit_events SET outcome = 'refused' WHERE workspace = 'acme' AND sequence = 5`], 5],
    ['deleted', 5, [remove('= 5')], 6],
    ['deleted', 5, [remove('= 5'), ...times(7, (index) => move(index + 6, index + 5))], 6],
    ['reordered', 5, [move(5, 99), move(8, 5), move(99, 8)], 8],
    ['cut from the end', 10, [remove('> 9')], 9],
    ['cut from the end', 1, [remove('> 0')], 0],
  ])('verify says %s at %i, naming the event, and exits with 1', async (fault, sequence, steps, named) => {
    for (const step of steps) await log.tamper(step)
    const found = await run(['verify', '--heads', headsFile(head(3), head(12))])
    expect(found).toMatchObject({ code: 1, stderr: '' })
    const event = named === 0 ? '' : `, event ${entries[named - 1]!.eventId}`
    expect(found.stdout).toContain(`workspace "acme", sequence ${sequence}${event}: ${fault}: `)
    expect(found.stdout.split('\n')).toHaveLength(2)
  })

  test('verify cannot see a cut end without heads, and sees it in the log of the service', async () => {
    await log.tamper(`DELETE FROM audit_events WHERE workspace = 'acme' AND sequence > 9`)
    expect(await run(['verify'])).toMatchObject({ code: 0 })
    const line = JSON.stringify({ level: 'info', service: 'access', head: JSON.parse(head(12)) as unknown, msg: 'audit head' })
    const found = await run(['verify', '--heads', headsFile('{"level":"info","msg":"listening"}\n', `${line}\n`, '{"torn')])
    expect(found.code).toBe(1)
    expect(found.stdout).toContain('sequence 10')
  })

  test('verify detects a forged head, and skips lines without one', async () => {
    const forged = head(12).replace('"sequence":12', '"sequence":11')
    expect(await run(['verify', '--heads', headsFile(forged)])).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('sequence 11: forged head') as string,
    })
    const torn = await run(['verify', '--heads', headsFile(head(2).slice(0, 40), '\n', head(12))])
    expect(torn).toMatchObject({ code: 0, stdout: 'intact: 2 workspaces, 15 entries, 1 heads\n' })
    expect(torn.stderr).toContain('1 lines of')
  })

  test('verify checks only the named workspace, and reports the others that are not intact', async () => {
    await log.tamper(`UPDATE audit_events SET actor = 'eve' WHERE sequence = 2`)
    const all = await run(['verify'])
    expect(all.stdout.match(/edited/g)).toHaveLength(2)
    await log.tamper(`DELETE FROM audit_events WHERE workspace = 'acme'`)
    expect((await run(['verify', '--workspace', 'acme'])).code).toBe(0)
    expect((await run(['verify', '--workspace', 'other'])).stdout).toContain('workspace "other", sequence 2')
  })

  test('verify with another key finds nothing right', async () => {
    expect((await run(['verify'], { AUDIT_HMAC_KEY: 'another' })).stdout).toContain('sequence 1')
  })

  test('verify shows how far it is where a chain is long', async () => {
    await log.tamper('TRUNCATE audit_events')
    const rows = `INSERT INTO audit_events SELECT 'long', n, gen_random_uuid(), 1, now(), now(), 's', 'a', 'success', '', '', '', '{}',
      '', '', '', 1, decode(repeat('00', 32), 'hex') FROM generate_series(1, 20000) AS n`
    await log.tamper(rows)
    const found = await run(['verify'])
    expect(found).toMatchObject({ code: 1, stderr: '20000 entries, in workspace "long"\n' })
  })

  test.each(['2026-02-30', '2026-01-31T24:00:00Z', '2016-12-31T23:59:60Z', 'yesterday'])(
    'a bound that does not exist is refused: %s',
    async (time) => {
      const { code, stderr } = await run(['export', '--workspace', 'acme', '--from', time])
      expect([code, stderr]).toEqual([2, expect.stringContaining('--from is not a valid time such as')])
    },
  )

  test('export prints what a workspace has, oldest first, without needing the key', async () => {
    const all = await run(['export', '--workspace', 'acme'], { AUDIT_HMAC_KEY: '' })
    expect(all).toMatchObject({ code: 0, stderr: '' })
    const lines = all.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { sequence: number; event_id: string })
    expect(lines.map(({ event_id: id }) => id)).toEqual(entries.map(({ eventId }) => eventId))
    expect((await run(['export', '--workspace', 'acme', '--from', '2026-02-01'])).stdout).toBe('')
  })

  test('retain, as the retention role, removes old entries, and the rest is intact, with the earlier heads', async () => {
    const path = headsFile(head(3), head(12))
    expect(await run(['retain', '--older-than', '1h'])).toMatchObject({ code: 0, stdout: 'no entries are that old\n' })
    await until('the entries are a second old', () => Date.now() > Date.parse(entries.at(-1)!.recordedAt) + 1000)
    const refused = await run(['retain', '--older-than', '1s'])
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('AUDIT_RETENTION_DATABASE_URL') as string })
    await log.store.append([eventOf()])
    const asRetention = { AUDIT_RETENTION_DATABASE_URL: log.urls.retention }
    const retained = await run(['retain', '--older-than', '1s', '--workspace', 'acme'], asRetention)
    expect(retained).toMatchObject({ code: 0, stderr: '' })
    expect(retained.stdout).toMatch(/^workspace "acme": 1[23] entries removed\n$/)
    expect(await run(['verify', '--heads', path])).toMatchObject({ code: 0 })
  })

  test.each([
    [[], 'Usage'],
    [['tamper'], 'There is no command'],
    [['verify', '--force'], '--force'],
    [['verify', 'acme'], 'acme'],
    [['verify', '--heads', '/nowhere/heads'], '--heads'],
    [['export'], '--workspace'],
    [['export', '--workspace', 'acme', '--from', 'yesterday'], '--from'],
    [['retain'], '--older-than'],
    [['retain', '--older-than', '0d'], '--older-than'],
    [['retain', '--older-than', '90'], '--older-than'],
  ])('%j is not understood: exit code 2, and a word on why', async (args, word) => {
    const { code, stdout, stderr } = await run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(word)
  })

  test.each([
    [{ AUDIT_HMAC_KEY: '' }, 78, 'AUDIT_HMAC_KEY'],
    [{ DATABASE_URL: '' }, 78, 'DATABASE_URL'],
    [{ AUDIT_DATABASE_URL: 'postgres://nobody:wrong-pass@127.0.0.1:9/none' }, 2, 'Postgres does not answer'],
  ])('with %o it exits with %i, which is not 1, says what is missing, and shows no password', async (env, expected, word) => {
    const { code, stderr } = await run(['verify'], env)
    expect(code).toBe(expected)
    expect(stderr).toContain(word)
    expect(stderr).not.toContain('wrong-pass')
  })

  test.each([[['export', '--workspace', 'acme']], [['heads']], [['verify']]])('%j tolerates a reader that stops early', async (args) => {
    const { child, ended, text } = startProcess(cli, { DATABASE_URL: log.urls.service, AUDIT_HMAC_KEY: secret }, args)
    child.stdout!.destroy()
    expect({ code: await ended, stderr: text.stderr }).toEqual({ code: 0, stderr: '' })
  })

  test('--help lists every command and variable', async () => {
    const { code, stdout } = await run(['--help'])
    expect(code).toBe(0)
    const words = ['verify', 'export', 'retain', 'heads', 'AUDIT_HMAC_KEY', 'AUDIT_DATABASE_URL', 'AUDIT_RETENTION_DATABASE_URL']
    for (const word of words) expect(stdout).toContain(word)
  })
})
