/**
 * Commands for operators on the access service's database, whether the service runs or not:
 *
 *   node services/access/relay-access.cli.ts create-key --workspace default --role admin --actor ada --name laptop --expires-in 90d
 */
import { randomUUID } from 'node:crypto'
import { keyEnvOf } from '#mesh/api-key.ts'
import { readConfig } from '#mesh/config.ts'
import { UsageError, command, runProgram, withDatabase } from '#mesh/program.ts'
import { processVariables } from '#mesh/variables.ts'
import { keyVariables, signingVariables } from './config.ts'
import { keyHash } from './keys/key.ts'
import { type KeyCreator, Keys } from './keys/keys.ts'
import { postgresKeyStore } from './keys/store.postgres.ts'
import { rotateSigningKey } from './tokens/rotate-signing-key.ts'
import { signingKeyStore } from './tokens/store.postgres.ts'

const creating = { environment: processVariables.environment, ...keyVariables }

const name = 'relay-access'

/** The text of an option, checked against the contract's limits. */
function text(options: Record<string, unknown>, name: string, pattern: RegExp): string {
  const value = options[name]
  if (typeof value !== 'string') throw new UsageError(`--${name} is required`)
  if (!pattern.test(value)) throw new UsageError(`--${name} ${JSON.stringify(value.slice(0, 200))} is not valid`)
  return value
}

/** In milliseconds; at most ten years. */
function lifeOf(option: string | undefined): number | undefined {
  if (option === undefined) return undefined
  const [, digits, unit = 's'] = /^(\d{1,9})([smhd]?)$/.exec(option) ?? []
  const ms = Number(digits) * { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[(unit || 's') as 's' | 'm' | 'h' | 'd']
  if (ms > 0 && ms <= 315_360_000_000) return ms
  throw new UsageError(`--expires-in ${JSON.stringify(option.slice(0, 20))} is not a time such as 3600, 12h or 90d (at most 3650d)`)
}

const workspaceOf = (options: Record<string, unknown>): string => text(options, 'workspace', /^[\w.:@-]{1,128}$/)

/** An operator has all rights in the workspace, and no key. */
const operatorOf = (workspace: string): KeyCreator => {
  const principal = { workspace, actor: 'operator', keyId: '', requestId: randomUUID(), traceId: '', source: 'cli' }
  return { ...principal, may: () => true, operator: true }
}

function withKeys<T>(work: (keys: Keys) => Promise<T>): Promise<T> {
  const { environment, databaseUrl, pepper } = readConfig(creating)
  return withDatabase({ name, url: databaseUrl }, (database) =>
    work(new Keys({ store: postgresKeyStore(database), env: keyEnvOf(environment), hash: keyHash(pepper.reveal()) })),
  )
}

const createKey = command({
  doc: 'Creates an API key and prints it once; it is not stored.',
  options: {
    workspace: { type: 'string', value: '<id>', doc: 'workspace of the key' },
    role: { type: 'string', value: '<role>', doc: 'viewer, operator, developer or admin' },
    actor: { type: 'string', value: '<name>', doc: 'actor for whom it acts' },
    name: { type: 'string', value: '<text>', doc: 'display name' },
    scope: { type: 'string', multiple: true, value: '<permission>', doc: 'limits the role to this permission; repeatable' },
    'preview-only': { type: 'boolean', doc: 'limits the key to reading and previewing' },
    'allowed-source': { type: 'string', multiple: true, value: '<CIDR>', doc: 'address or network from which it may be used; repeatable' },
    'expires-in': { type: 'string', value: '<time>', doc: 'lifetime, e.g. 3600, 12h, 90d; until revoked if omitted' },
  },
  async run(values) {
    const workspace = workspaceOf(values)
    const wanted = {
      role: text(values, 'role', /^[a-z]{1,32}$/),
      actor: text(values, 'actor', /^.{1,128}$/u),
      name: text(values, 'name', /^.{1,100}$/u),
      scopes: values.scope ?? [],
      previewOnly: values['preview-only'] ?? false,
      allowedSources: values['allowed-source'] ?? [],
      lifetimeMs: lifeOf(values['expires-in']),
    }
    await withKeys(async (keys) => {
      console.log((await keys.create(operatorOf(workspace), wanted)).apiKey)
    })
    return 0
  },
})

const listKeys = command({
  doc: 'Prints the keys of a workspace as newline-delimited JSON, newest first, with their roles and parents.',
  options: {
    workspace: { type: 'string', value: '<id>', doc: 'whose' },
    all: { type: 'boolean', doc: 'includes keys that have ended' },
  },
  async run({ workspace: given, all = false }) {
    const workspace = workspaceOf({ workspace: given })
    await withKeys(async (keys) => {
      let after: Parameters<Keys['list']>[1]['after']
      do {
        const page = await keys.list(operatorOf(workspace), { limit: 200, after })
        for (const key of page.keys) if (all || key.status === 'active') console.log(JSON.stringify(key))
        after = page.next
      } while (after !== undefined)
    })
    return 0
  },
})

const revokeKey = command({
  doc: 'Revokes a key and its descendants, everywhere within five seconds, and prints their ids.',
  options: {
    workspace: { type: 'string', value: '<id>', doc: 'whose' },
    'key-id': { type: 'string', value: '<id>', doc: 'id of the key, as list-keys prints it' },
    'keep-children': { type: 'boolean', doc: 'revokes this key alone' },
  },
  async run(values) {
    const workspace = workspaceOf(values)
    const keyId = text(values, 'key-id', /^[0-9a-f-]{36}$/i)
    await withKeys(async (keys) => {
      const { key, children } = await keys.revoke(operatorOf(workspace), keyId, { keepChildren: values['keep-children'] ?? false })
      for (const id of [key.keyId, ...children]) console.log(id)
    })
    return 0
  },
})

const newSigningKey = command({
  doc: 'Creates a new key that signs caller tokens, and prints when it takes effect. Use it if the current one may have leaked.',
  options: {},
  async run() {
    const { databaseUrl, signingSecret } = readConfig(signingVariables)
    await withDatabase({ name, url: databaseUrl }, async (database) => {
      console.log(await rotateSigningKey({ store: signingKeyStore(database), secret: signingSecret.reveal() }))
    })
    return 0
  },
})

await runProgram({
  name,
  variables: { ...creating, ...signingVariables },
  commands: { 'create-key': createKey, 'list-keys': listKeys, 'revoke-key': revokeKey, 'rotate-signing-key': newSigningKey },
  messages: { noTables: 'The database at DATABASE_URL has no tables yet. Start the access service once' },
})
