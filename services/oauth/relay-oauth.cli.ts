/**
 * Operations on the oauth service's database, with the service running or not:
 *
 *   node services/oauth/relay-oauth.cli.ts rotate
 */
import { readConfig } from '#mesh/config.ts'
import { UsageError, command, runProgram, withDatabase } from '#mesh/program.ts'
import { storedVariables } from './config.ts'
import { postgresConnectionStore } from './connections/store.postgres.ts'
import { type UnreadableToken, type Rotation, rotate } from './vault/rotate.ts'

const name = 'relay-oauth'

const about = `Tokens are served meanwhile. It may be stopped at any point and run again: what was done is done. To change keys:

  1. Add the new key at the end of the list, in every replica: from now on all of them can read it.
  2. Put it first, in every replica: from now on all of them write it.
  3. Run rotate, with that list, until rotate --check finds nothing left.
  4. A day later, when no revocation and no step of connecting is left under the old key, remove it.

Up to the last step it goes back in the same way: put the old key first, and run rotate.`

/** Maximum connections that are named if they cannot be opened; the others are counted. */
const maxListed = 20
/** The minimum interval between two lines of progress. */
const progressEveryMs = 1000

function batchOf(option: string | undefined): number {
  if (option === undefined) return 100
  const batch = /^\d{1,4}$/.test(option) ? Number(option) : 0
  if (batch >= 1 && batch <= 1000) return batch
  throw new UsageError(`--batch ${JSON.stringify(option.slice(0, 20))} is not a number from 1 to 1000`)
}

const rotateKeys = command({
  doc: 'Encrypts every token that is not under the first key of OAUTH_ENCRYPTION_KEY with that key, batch by batch.',
  options: {
    check: { type: 'boolean', doc: 'changes nothing, and says how many are left' },
    batch: { type: 'string', value: '<number>', doc: 'connections in one transaction, 1 to 1000; 100 when not given' },
  },
  async run(values) {
    const [limit, dry] = [batchOf(values.batch), values.check ?? false]
    const { databaseUrl, vault } = readConfig(storedVariables)
    let saidAt = -Infinity
    const progress = ({ seen, rotated }: Rotation): void => {
      if (performance.now() - saidAt < progressEveryMs) return
      saidAt = performance.now()
      console.error(`${seen} connections seen, ${rotated} ${dry ? 'not under the first key' : 'encrypted with the first key'}`)
    }
    return withDatabase({ name, url: databaseUrl }, async (database) => {
      const rotation = await rotate({ store: postgresConnectionStore(database), vault, limit, dry, progress })
      return dry ? sayLeft(rotation, vault.firstKid) : sayDone(rotation, vault.firstKid)
    })
  },
})

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
  context_mismatch: 'it was encrypted for another connection: someone wrote it here',
} as const

/** How many connections contain something that cannot be opened. */
function sayRefused(refused: readonly UnreadableToken[]): number {
  for (const { workspace, connectionId, kind, reason } of refused.slice(0, maxListed)) {
    console.error(`connection ${connectionId} of ${JSON.stringify(workspace)}, ${kind} token: ${reasons[reason]}`)
  }
  if (refused.length > maxListed) console.error(`and ${refused.length - maxListed} more`)
  return new Set(refused.map(({ connectionId }) => connectionId)).size
}

await runProgram({
  name,
  variables: storedVariables,
  commands: { rotate: rotateKeys },
  about,
  codes: { 0: 'done, and nothing left', 1: 'failed, or some are left' },
  messages: {
    unavailable: 'Postgres does not answer at DATABASE_URL. Completed batches are kept: run the same command again to continue.',
    noTables: 'The database at DATABASE_URL has no tables yet: start the oauth service once',
    forbidden: 'The role of DATABASE_URL may not change connections',
  },
})
