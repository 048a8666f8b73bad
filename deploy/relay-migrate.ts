/**
 * Migrates the services' databases to this release. Run it before the processes of the release start; it is safe to repeat.
 *
 *   ACTIONS_DATABASE_URL=postgres://… node deploy/relay-migrate.ts run
 */
import { type Secret, readConfig } from '#mesh/config.ts'
import { migrate, requireMigrated } from '#mesh/postgres/migrate.ts'
import { UsageError, command, runProgram } from '#mesh/program.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { migrationVariables } from './migration-variables.ts'

const name = 'relay-migrate'

const log = createLogger(name, 'info', process.stderr)
const folderOf = (service: string): URL => new URL(`../services/${service}/migrations/`, import.meta.url)

function databases(): [service: string, url: Secret][] {
  const found = Object.entries(readConfig(migrationVariables)).flatMap(([service, url]): [string, Secret][] =>
    url === undefined ? [] : [[service, url]],
  )
  if (found.length === 0)
    throw new UsageError(
      `None of ${Object.keys(migrationVariables)
        .map((each) => `${each.toUpperCase()}_DATABASE_URL`)
        .join(', ')} is set`,
    )
  return found
}

const run = command({
  doc: 'Runs the migrations that have not run, in each database that is given.',
  options: {},
  async run() {
    await Promise.all(databases().map(([service, url]) => migrate(url, folderOf(service), log.child({ database: service }))))
    console.log('The databases are migrated to this release.')
    return 0
  },
})

const check = command({
  doc: 'Changes nothing, and fails where a migration has not run, naming it.',
  options: {},
  async run() {
    for (const [service, url] of databases())
      await requireMigrated(url, folderOf(service), log.child({ database: service }), { timeoutMs: 0 })
    console.log('The databases are migrated to this release.')
    return 0
  },
})

await runProgram({
  name,
  variables: migrationVariables,
  commands: { run, check },
  about: `Several may run at once. It waits for locks two seconds at a time, so that no statement waits for long behind it, and gives up after five
minutes. Indexes of large tables are built beside writers. Services that start meanwhile with MIGRATE_ON_START=false wait a minute for it.`,
})
