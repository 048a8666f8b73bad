import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Client } from 'pg'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { migrate, requireMigrated } from '#mesh/postgres/migrate.ts'
import { through, tcpProxy } from '../../fakes/tcp-proxy.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'

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

  test('run in order, each once, and later ones when they are added', async () => {
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

  test('leave nothing behind if one of them fails, and say why', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int);')
    write('0002_wrong.sql', 'CREATE TABLE half (id int); SELECT nonsense;')
    await expect(run()).rejects.toThrow('nonsense')
    expect(await tables()).toEqual([])
    write('0002_wrong.sql', 'CREATE TABLE whole (id int);')
    await run()
    expect(await tables()).toEqual(['things', 'whole'])
  })

  test('refuse to run before one that has run', async () => {
    write('0002_later.sql', 'CREATE TABLE later (id int);')
    await run()
    write('0001_forgotten.sql', 'CREATE TABLE forgotten (id int);')
    await expect(run()).rejects.toThrow('0001_forgotten')
    expect(await tables()).toEqual(['later'])
  })

  test('do not keep an older replica, which knows fewer of them, from starting', async () => {
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

  const connected = async <T>(work: (client: Client) => Promise<T>): Promise<T> => {
    const client = new Client({ connectionString: fresh.url })
    await client.connect()
    try {
      return await work(client)
    } finally {
      await client.end()
    }
  }
  const index =
    '-- relay: no transaction\n-- Beside writers.\nDROP INDEX CONCURRENTLY IF EXISTS by_name;\nCREATE INDEX CONCURRENTLY by_name ON things (name);\n'

  test('may build an index beside a writer, outside a transaction, and the others run as usual', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int, name text);')
    await run()
    write('0002_index.sql', index)
    write('0003_more.sql', 'CREATE TABLE more (id int);')
    await connected(async (writer) => {
      await writer.query('BEGIN')
      await writer.query(`INSERT INTO things VALUES (1, 'a')`)
      const migrated = run()
      await connected(async (other) => {
        const builds = async () =>
          (await other.query(`SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'`)).rowCount
        await until('the build waits for the writer', async () => (await builds()) === 1)
        // It keeps nobody else from writing.
        await other.query(`SET statement_timeout = 2000; INSERT INTO things VALUES (2, 'b')`)
      })
      await writer.query('COMMIT')
      await migrated
    })
    expect(await tables()).toEqual(['more', 'things'])
    const { rows } = await connected((client) => client.query(`SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass`))
    expect(rows).toEqual([{ indisvalid: true }])
  })

  test('build an index again after an interruption', async () => {
    write('0001_things.sql', `CREATE TABLE things (id int, name text); INSERT INTO things VALUES (1, 'a'), (2, 'a');`)
    await run()
    await connected((client) => client.query('CREATE UNIQUE INDEX CONCURRENTLY by_name ON things (name)').catch(() => undefined))
    write('0002_index.sql', index)
    await run()
    const { rows } = await connected((client) =>
      client.query(`SELECT indisvalid, indisunique FROM pg_index WHERE indexrelid = 'by_name'::regclass`),
    )
    expect(rows).toEqual([{ indisvalid: true, indisunique: false }])
  })

  test('that build indexes run once with several concurrent migrators, beside one of an earlier release', async () => {
    write(
      '0001_things.sql',
      'CREATE TABLE things (id int, name text); INSERT INTO things SELECT at, at FROM generate_series(1, 10000) AS at;',
    )
    write('0002_index.sql', index)
    write('0003_more.sql', 'CREATE TABLE more (id int);')
    await connected(async (earlier) => {
      const waits = earlier.query('SELECT pg_advisory_lock(7241865325823964); SELECT pg_advisory_unlock(7241865325823964)')
      await Promise.all([run(), run(), run(), waits])
    })
    expect(lines.flatMap(({ migration }) => migration ?? [])).toEqual(['0001_things', '0002_index', '0003_more'])
  })

  test('do not block others while they wait for a lock, and continue once they get it', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int);')
    await run()
    write('0002_column.sql', 'ALTER TABLE things ADD COLUMN name text;')
    await connected(async (holder) => {
      await holder.query('BEGIN')
      await holder.query('SELECT * FROM things')
      const migrated = migrate(new Secret(fresh.url), pathToFileURL(`${folder}/`), log, { lockMs: 200 })
      await until('it says that a lock is held', () => lines.some(({ msg }) => msg.startsWith('another session holds a lock')))
      // Who comes after it waits no longer than it does.
      await connected((reader) => reader.query(`SET statement_timeout = 2000; SELECT * FROM things`))
      await holder.query('COMMIT')
      await migrated
    })
    expect(lines.map(({ migration }) => migration)).toContain('0002_column')
  })

  test('give up on a lock that is held for too long, and name the waiting migration', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int);')
    await run()
    write('0002_column.sql', 'ALTER TABLE things ADD COLUMN name text;')
    await connected(async (holder) => {
      await holder.query('BEGIN')
      await holder.query('SELECT * FROM things')
      const options = { lockMs: 50, timeoutMs: 100 }
      await expect(migrate(new Secret(fresh.url), pathToFileURL(`${folder}/`), log, options)).rejects.toThrow(
        '0002_column did not get its locks',
      )
    })
  })

  test('are awaited by a replica that starts meanwhile, which fails with a clear sentence if they do not come', async () => {
    write('0001_things.sql', 'CREATE TABLE things (id int);')
    const require = (timeoutMs: number) => requireMigrated(new Secret(fresh.url), pathToFileURL(`${folder}/`), log, { timeoutMs })
    await expect(require(0)).rejects.toThrow('The database at DATABASE_URL lacks the migrations 0001_things: run relay-migrate')
    expect(await tables()).toEqual([])
    const waiting = require(20_000)
    await until('it says that it waits', () => lines.some(({ msg }) => msg.startsWith('waiting for migrations')))
    await run()
    await waiting
  })
})
