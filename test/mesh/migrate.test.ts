import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Client } from 'pg'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { migrate } from '#mesh/postgres/migrate.ts'
import { through, tcpProxy } from '../fakes/tcp-proxy.ts'
import { until } from '../fixtures/mesh/until.ts'
import { type FreshDatabase, freshDatabase } from '../setup/database.ts'

describe('migrations', () => {
  let fresh: FreshDatabase
  let folder: string
  let lines: { msg: string; migration?: string }[]
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  beforeEach(async () => {
    fresh = await freshDatabase()
    folder = mkdtempSync(join(tmpdir(), 'relay-migrations-'))
    lines = []
  })
  afterEach(async () => {
    rmSync(folder, { recursive: true })
    await fresh.drop()
  })

  const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
  const run = (url = fresh.url) => migrate(new Secret(url), pathToFileURL(`${folder}/`), log)
  const tables = async (): Promise<string[]> => {
    const client = new Client({ connectionString: fresh.url })
    await client.connect()
    try {
      const { rows } = await client.query<{ tablename: string }>(`SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)
      return rows.map(({ tablename }) => tablename).filter((name) => name !== 'migrations')
    } finally {
      await client.end()
    }
  }

  test('run in order, each once, and later ones when they come', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int);')
    write('0002_more.sql', 'ALTER TABLE things ADD COLUMN name text; CREATE TABLE more (id int);')
    await run()
    expect(await tables()).toEqual(['more', 'things'])
    write('0010_last.sql', 'CREATE TABLE last (id int);')
    await run()
    await run()
    expect(await tables()).toEqual(['last', 'more', 'things'])
    expect(lines.map(({ migration }) => migration)).toEqual(['0001_things', '0002_more', '0010_last'])
  })

  test('run once when several replicas start together', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int); SELECT pg_sleep(0.1);')
    write('0002_row.sql', 'INSERT INTO things VALUES (1);')
    await Promise.all([run(), run(), run(), run()])
    expect(lines.map(({ migration }) => migration)).toEqual(['0001_things', '0002_row'])
  })

  test('leave nothing behind when one of them fails, and say why', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int);')
    write('0002_wrong.sql', 'CREATE TABLE half (id int); SELECT nonsense;')
    await expect(run()).rejects.toThrow('nonsense')
    expect(await tables()).toEqual([])
    write('0002_wrong.sql', 'CREATE TABLE whole (id int);')
    await run()
    expect(await tables()).toEqual(['things', 'whole'])
  })

  test('refuse to slip in before one that has run', async () => {
    write('0002_later.sql', 'CREATE TABLE later (id int);')
    await run()
    write('0001_forgotten.sql', 'CREATE TABLE forgotten (id int);')
    await expect(run()).rejects.toThrow('0001_forgotten')
    expect(await tables()).toEqual(['later'])
  })

  test('do not keep an older replica from starting, which knows fewer of them', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int);')
    write('0002_more.sql', 'CREATE TABLE more (id int);')
    await run()
    rmSync(join(folder, '0002_more.sql'))
    await run()
    expect(await tables()).toEqual(['more', 'things'])
  })

  test('wait for a Postgres that is still starting', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int);')
    const target = new URL(fresh.url)
    const at = { host: target.hostname, port: Number(target.port) }
    const first = await tcpProxy(at)
    await first.close()
    const migrated = run(through(first, fresh.url))
    await until('it says that it waits', () => lines.some(({ msg }) => msg === 'waiting for Postgres'))
    const proxy = await tcpProxy(at, first.port)
    try {
      await migrated
      expect(await tables()).toEqual(['things'])
    } finally {
      await proxy.close()
    }
  })
})
