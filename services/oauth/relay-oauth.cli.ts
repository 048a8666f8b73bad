/**
 * What operators do to the oauth service's database, with the service running or not:
 *
 *   node services/oauth/relay-oauth.cli.ts rotate
 *
 * Exit codes: 0 done, and nothing left; 1 failed, or some are left; 2 not understood, 78 the configuration is not usable.
 */
import { parseArgs } from 'node:util'
import { ConfigError, describeConfig, readConfig } from '#mesh/config.ts'
import { MeshError } from '#mesh/errors.ts'
import { Database } from '#mesh/postgres/database.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { storedVariables } from './config.ts'
import { postgresConnectionStore } from './connections/store.postgres.ts'
import { type Refused, type Rotation, rotate } from './vault/rotate.ts'

const usage = `Usage: relay-oauth <command> [options]

  rotate              Encrypts every token that is not under the first key of OAUTH_ENCRYPTION_KEY with that key, batch by batch.
    --check                   changes nothing, and says how many are left
    --batch <number>          connections in one transaction, 1 to 1000; 100 when not given

Tokens are served meanwhile. It may be stopped at any point and run again: what was done is done. To change keys:

  1. Add the new key at the end of the list, in every replica: from now on all of them can read it.
  2. Put it first, in every replica: from now on all of them write it.
  3. Run rotate, with that list, until rotate --check finds nothing left.
  4. Ten minutes later, when nobody is on the way to connect with the old key any more, remove it.

Up to the last step it goes back in the same way: put the old key first, and run rotate.

Exit codes: 0 done, and nothing left; 1 failed, or some are left; 2 not understood; 78 the configuration is not usable.

It is configured by environment variables:

${describeConfig(storedVariables)}
`

class UsageError extends Error {}

/** Connections that are named when they cannot be opened; the others are counted. */
const mostNamed = 20
/** Between two lines of progress at least. */
const progressEveryMs = 1000

function batchOf(option: string | undefined): number {
  if (option === undefined) return 100
  const batch = /^\d{1,4}$/.test(option) ? Number(option) : 0
  if (batch >= 1 && batch <= 1000) return batch
  throw new UsageError(`--batch ${JSON.stringify(option.slice(0, 20))} is no number from 1 to 1000`)
}

async function rotateKeys(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { check: { type: 'boolean' }, batch: { type: 'string' } } })
  const [limit, dry] = [batchOf(values.batch), values.check ?? false]
  const { databaseUrl, vault } = readConfig(storedVariables)
  const log = createLogger('relay-oauth', 'warn', process.stderr)
  const database = new Database({ url: databaseUrl, log, connections: 1 })
  let saidAt = -Infinity
  const progress = ({ seen, rotated }: Rotation): void => {
    if (performance.now() - saidAt < progressEveryMs) return
    saidAt = performance.now()
    console.error(`${seen} connections seen, ${rotated} ${dry ? 'not under the first key' : 'encrypted with the first key'}`)
  }
  try {
    const rotation = await rotate({ store: postgresConnectionStore(database), vault, limit, dry, progress })
    return dry ? sayLeft(rotation, vault.firstKid) : sayDone(rotation, vault.firstKid)
  } finally {
    await database.close()
  }
}

function sayDone({ seen, rotated, refused }: Rotation, kid: string): number {
  const left = sayRefused(refused)
  console.log(`${rotated} of ${seen} connections encrypted with the first key, ${kid}; ${left} left as they are`)
  return left === 0 ? 0 : 1
}

function sayLeft({ seen, rotated, refused }: Rotation, kid: string): number {
  const left = sayRefused(refused) + rotated
  console.log(`${left} of ${seen} connections are not under the first key, ${kid}`)
  return left === 0 ? 0 : 1
}

const reasons = {
  unreadable: 'no key of the list opens it, or it was changed',
  swapped: 'it was made for another connection: somebody wrote it here',
} as const

/** How many connections hold something that cannot be opened. */
function sayRefused(refused: readonly Refused[]): number {
  for (const { workspace, connectionId, kind, reason } of refused.slice(0, mostNamed)) {
    console.error(`connection ${connectionId} of ${JSON.stringify(workspace)}, ${kind} token: ${reasons[reason]}`)
  }
  if (refused.length > mostNamed) console.error(`and ${refused.length - mostNamed} more`)
  return new Set(refused.map(({ connectionId }) => connectionId)).size
}

/** Each returns the exit code. */
const commands: ReadonlyMap<string | undefined, (args: string[]) => Promise<number>> = new Map([['rotate', rotateKeys]])

/** What went wrong, for a person to read, and the exit code. */
function failure(error: unknown): { code: number; message: string } {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (error instanceof UsageError || (typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS'))) {
    return { code: 2, message: `${(error as Error).message}\nrelay-oauth --help says what it takes.` }
  }
  if (error instanceof ConfigError) return { code: 78, message: error.message }
  if (error instanceof MeshError && error.reason === 'DEPENDENCY_UNAVAILABLE') {
    return { code: 1, message: 'Postgres does not answer at DATABASE_URL; what was done is done, and the same command goes on from there' }
  }
  // SQLSTATE: undefined_table, insufficient_privilege, invalid_password and its like, invalid_catalog_name.
  if (code === '42P01') return { code: 1, message: 'The database at DATABASE_URL has no tables yet: start the oauth service once' }
  if (code === '42501') return { code: 1, message: 'The role of DATABASE_URL may not change connections' }
  if (typeof code === 'string' && (code.startsWith('28') || code === '3D000')) {
    return { code: 1, message: 'Postgres does not let the role of DATABASE_URL in' }
  }
  return { code: 1, message: error instanceof Error ? error.message : String(error) }
}

const [name, ...args] = process.argv.slice(2)
if (name === undefined || process.argv.includes('--help')) {
  ;(name === undefined ? console.error : console.log)(usage)
  process.exitCode = name === undefined ? 2 : 0
} else {
  try {
    const command = commands.get(name)
    if (command === undefined) throw new UsageError(`There is no command ${JSON.stringify(name.slice(0, 50))}`)
    process.exitCode = await command(args)
  } catch (error) {
    const { code, message } = failure(error)
    console.error(`relay-oauth: ${message}`)
    process.exitCode = code
  }
}
