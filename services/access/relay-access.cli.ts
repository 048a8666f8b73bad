/**
 * What operators do to the access service's database, with the service running or not:
 *
 *   node services/access/relay-access.cli.ts create-key --workspace default --role admin --actor ada --name laptop --expires-in 90d
 *
 * Exit codes: 0 done, 1 failed, 2 not understood, 78 the configuration is not usable.
 */
import { randomUUID } from 'node:crypto'
import { parseArgs } from 'node:util'
import { keyEnvOf } from '#mesh/api-key.ts'
import { ConfigError, type Secret, describeConfig, readConfig } from '#mesh/config.ts'
import { MeshError } from '#mesh/errors.ts'
import { Database } from '#mesh/postgres/database.ts'
import { processVariables } from '#mesh/serve.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { keyVariables, signingVariables } from './config.ts'
import { keyHash } from './keys/key.ts'
import { Keys } from './keys/keys.ts'
import { postgresKeyStore } from './keys/store.postgres.ts'
import { rotateSigningKey } from './tokens/rotate-signing-key.ts'
import { signingKeyStore } from './tokens/store.postgres.ts'

const creating = { environment: processVariables.environment, ...keyVariables }

const usage = `Usage: relay-access <command> [options]

  create-key          Makes an API key and prints it, once: nothing keeps it.
    --workspace <id>          whose it is
    --role <role>             viewer, operator, developer or admin
    --actor <name>            who acts with it
    --name <text>             what people know it by
    --scope <permission>      narrows the role to this; may be repeated
    --preview-only            narrows it to reading and previewing
    --allowed-source <CIDR>   where it may be used from; may be repeated
    --expires-in <time>       how long it lives, e.g. 3600, 12h, 90d; until revoked when not given

  rotate-signing-key  Makes a new key for signing caller tokens, and prints when it is used. For when the one in use may be known to somebody.

It is configured by environment variables:

${describeConfig({ ...creating, ...signingVariables })}
`

class UsageError extends Error {}

/** An option's text within its bounds, which are those of the contract. */
function text(options: Record<string, unknown>, name: string, pattern: RegExp): string {
  const value = options[name]
  if (typeof value !== 'string') throw new UsageError(`--${name} is needed`)
  if (!pattern.test(value)) throw new UsageError(`--${name} ${JSON.stringify(value.slice(0, 200))} cannot be taken`)
  return value
}

/** In milliseconds; ten years at the most. */
function lifeOf(option: string | undefined): number | undefined {
  if (option === undefined) return undefined
  const [, digits, unit = 's'] = /^(\d{1,9})([smhd]?)$/.exec(option) ?? []
  const ms = Number(digits) * { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[(unit || 's') as 's' | 'm' | 'h' | 'd']
  if (ms > 0 && ms <= 315_360_000_000) return ms
  throw new UsageError(`--expires-in ${JSON.stringify(option.slice(0, 20))} is no time like 3600, 12h or 90d, up to 3650d`)
}

async function createKey(args: string[]): Promise<string> {
  const string = { type: 'string' } as const
  const strings = { type: 'string', multiple: true } as const
  const { values } = parseArgs({
    args,
    options: {
      workspace: string,
      role: string,
      actor: string,
      name: string,
      scope: strings,
      'preview-only': { type: 'boolean' },
      'allowed-source': strings,
      'expires-in': string,
    },
  })
  const workspace = text(values, 'workspace', /^[\w.:@-]{1,128}$/)
  const wanted = {
    role: text(values, 'role', /^[a-z]{1,32}$/),
    actor: text(values, 'actor', /^.{1,128}$/u),
    name: text(values, 'name', /^.{1,100}$/u),
    scopes: values.scope ?? [],
    previewOnly: values['preview-only'] ?? false,
    allowedSources: values['allowed-source'] ?? [],
    lifeMs: lifeOf(values['expires-in']),
  }
  const { environment, databaseUrl, pepper } = readConfig(creating)
  return withDatabase(databaseUrl, async (database) => {
    const keys = new Keys({ store: postgresKeyStore(database), env: keyEnvOf(environment), hash: keyHash(pepper.reveal()) })
    const operator = { workspace, actor: 'operator', keyId: '', requestId: randomUUID(), traceId: '', source: 'cli', may: () => true }
    return (await keys.create(operator, wanted)).apiKey
  })
}

async function newSigningKey(args: string[]): Promise<string> {
  parseArgs({ args, options: {} })
  const { databaseUrl, signingSecret } = readConfig(signingVariables)
  return withDatabase(databaseUrl, (database) => rotateSigningKey({ store: signingKeyStore(database), secret: signingSecret.reveal() }))
}

async function withDatabase<T>(url: Secret, work: (database: Database) => Promise<T>): Promise<T> {
  const database = new Database({ url, log: createLogger('relay-access', 'warn', process.stderr), connections: 1 })
  try {
    return await work(database)
  } finally {
    await database.close()
  }
}

/** Each returns what is printed. */
const commands: ReadonlyMap<string | undefined, (args: string[]) => Promise<string>> = new Map([
  ['create-key', createKey],
  ['rotate-signing-key', newSigningKey],
])

/** What went wrong, for a person to read, and the exit code. */
function failure(error: unknown): { code: number; message: string } {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (error instanceof UsageError || (typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS'))) {
    return { code: 2, message: `${(error as Error).message}\nrelay-access --help says what it takes.` }
  }
  if (error instanceof ConfigError) return { code: 78, message: error.message }
  if (error instanceof MeshError) {
    if (error.reason === 'DEPENDENCY_UNAVAILABLE') return { code: 1, message: 'Postgres does not answer at DATABASE_URL' }
    const violations = error.violations.map(({ field, description }) => `  ${field} ${description}`)
    return { code: 1, message: [error.message, ...violations].join('\n') }
  }
  // SQLSTATE: undefined_table, and invalid_password and its like.
  if (code === '42P01') return { code: 1, message: 'The database at DATABASE_URL has no tables yet: start the access service once' }
  if (typeof code === 'string' && code.startsWith('28')) return { code: 1, message: 'Postgres does not let the role of DATABASE_URL in' }
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
    console.log(await command(args))
  } catch (error) {
    const { code, message } = failure(error)
    console.error(`relay-access: ${message}`)
    process.exitCode = code
  }
}
