/** Brings a database up to the code: forward-only SQL files, under a lock, so that replicas may start together. */
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import type { Secret } from '../config.ts'
import type { Logger } from '../telemetry/log.ts'

const patienceMs = 60_000

/** Waits for a database that is still starting, a minute at the most. */
async function connect(url: Secret, log: Logger): Promise<Client> {
  const until = Date.now() + patienceMs
  for (let attempt = 1; ; attempt += 1) {
    const client = new Client({ connectionString: url.reveal(), connectionTimeoutMillis: 2000, application_name: 'relay migrate' })
    client.on('error', () => undefined)
    try {
      await client.connect()
      return client
    } catch (error) {
      await client.end().catch(() => undefined)
      if (Date.now() > until) throw new Error('Postgres does not answer at DATABASE_URL', { cause: error })
      if (attempt === 1) log.warn({ err: error }, 'waiting for Postgres')
      await pause(Math.min(100 * attempt, 1000))
    }
  }
}

/** `folder` holds NNNN_what.sql files. */
export async function migrate(url: Secret, folder: URL, log: Logger): Promise<void> {
  const client = await connect(url, log)
  try {
    // Loaded only here: nothing needs it again once the process runs.
    const { runner } = await import('node-pg-migrate')
    const done = await runner({
      dbClient: client,
      dir: fileURLToPath(folder),
      direction: 'up',
      migrationsTable: 'migrations',
      checkOrder: true,
      advisoryLockMode: 'wait',
      singleTransaction: true,
      log: () => undefined,
    })
    for (const { name } of done) log.info({ migration: name }, 'migrated')
  } finally {
    await client.end()
  }
}
