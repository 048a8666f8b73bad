/**
 * Commands for operators on the audit log, whether the service runs or not:
 *
 *   node services/access/relay-audit.cli.ts verify --heads /var/lib/relay/audit-heads.ndjson
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ConfigError, type Secret, readConfig } from '#mesh/config.ts'
import type { Database } from '#mesh/postgres/database.ts'
import { UsageError, command, runProgram, withDatabase } from '#mesh/program.ts'
import { parseTimeOrDay } from '#mesh/rfc3339.ts'
import { auditVariables } from './config.ts'
import { boundOf } from './audit/bound.ts'
import { Chain, type Statement } from './audit/chain.ts'
import { entryLine } from './audit/entry-json.ts'
import { endsOf, headLine, parseHead } from './audit/heads.ts'
import { retain } from './audit/retention.ts'
import { PostgresChains } from './audit/store.chain.postgres.ts'
import { listEntries } from './audit/store.list.postgres.ts'
import { verifyLog } from './audit/verify.ts'

const config = () => readConfig(auditVariables)

/** Entries between two lines of progress. */
const progressEvery = 20_000
/** Entries that `export` holds at a time. */
const exportPage = 1000

/** With the read-only role, unless a URL is given. */
async function withLog<T>(work: (database: Database) => Promise<T>, role?: Secret): Promise<T> {
  const url = role ?? config().auditUrl ?? config().databaseUrl
  if (url === undefined) throw new ConfigError('Neither AUDIT_DATABASE_URL nor DATABASE_URL is set')
  return withDatabase({ name: 'relay-audit', url, statementMs: 60_000 }, work)
}

function chain(): Chain {
  const { auditKey } = config()
  if (auditKey === undefined) throw new ConfigError('AUDIT_HMAC_KEY is not set')
  return new Chain(auditKey.reveal())
}

const workspaceAlone = { type: 'string', value: '<id>', doc: 'only this workspace' } as const

const verify = command({
  doc: 'Verifies that every chain is intact, and names the first fault of each that is not.',
  options: {
    workspace: workspaceAlone,
    heads: { type: 'string', value: '<file>', doc: "and as long as these heads say: AUDIT_HEADS_FILE, or the service's log" },
  },
  async run({ workspace, heads: path }) {
    // Heads published after this moment may be of entries that the snapshot does not see.
    const size = path === undefined ? 0 : await sizeOf(path)
    const heads = path === undefined ? undefined : headsOf(path, size)
    let seen = 0
    const progress = (of: string) => {
      seen += 1
      if (seen % progressEvery === 0) console.error(`${seen} entries, in workspace ${JSON.stringify(of)}`)
    }
    const verdict = await withLog((database) =>
      new PostgresChains({ database }).look((view) => verifyLog({ chain: chain(), view, workspace, heads, seen: progress })),
    )
    for (const { sentence } of verdict.findings) console.log(sentence)
    if (verdict.findings.length > 0) return 1
    const compared = path === undefined ? '' : `, ${verdict.heads} heads`
    console.log(`intact: ${verdict.workspaces} workspaces, ${verdict.entries} entries${compared}`)
    return 0
  },
})

const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    (error: Error) => {
      throw new UsageError(`--heads cannot be read: ${error.message}`)
    },
  )

async function* headsOf(path: string, size: number): AsyncIterable<Statement> {
  if (size === 0) return
  let torn = 0
  for await (const line of createInterface({ input: createReadStream(path, { end: size - 1 }), crlfDelay: Infinity })) {
    const head = parseHead(line)
    if (head !== undefined) yield head
    else if (line !== '') torn += 1
  }
  if (torn > 0) console.error(`${torn} lines of ${path} have no head and were ignored`)
}

const exportEntries = command({
  doc: 'Prints entries as newline-delimited JSON, oldest first.',
  options: {
    workspace: { type: 'string', value: '<id>', doc: 'whose' },
    from: { type: 'string', value: '<time>', doc: 'only entries that occurred at or after this time, e.g. 2026-01-31T12:00:00Z' },
    until: { type: 'string', value: '<time>', doc: 'only entries that occurred before this time' },
  },
  async run({ workspace, from, until }) {
    if (workspace === undefined) throw new UsageError('--workspace is required')
    const filter = { from: timeOf('from', from), until: timeOf('until', until) }
    await withLog(async (database) => {
      const lines = async function* () {
        let after: number | undefined
        do {
          const page = await listEntries(database, { workspace, filter, order: 'oldest first', limit: exportPage, after })
          for (const entry of page.entries) yield entryLine(entry)
          after = page.next
        } while (after !== undefined)
      }
      await pipeline(Readable.from(lines()), process.stdout, { end: false })
    })
    return 0
  },
})

const retainEntries = command({
  doc: 'Removes old entries from intact chains, and leaves a signed checkpoint.',
  options: {
    'older-than': { type: 'string', value: '<time>', doc: 'only entries recorded longer ago than this, e.g. 90d' },
    workspace: workspaceAlone,
  },
  async run({ workspace, 'older-than': age }) {
    const ageMs = ageOf(age)
    const retained = await withLog(
      (database) => retain({ chain: chain(), cutter: new PostgresChains({ database }), ageMs, workspace }),
      config().retentionUrl,
    )
    for (const { workspace: of, removed } of retained) console.log(`workspace ${JSON.stringify(of)}: ${removed} entries removed`)
    if (retained.length === 0) console.log('no entries are that old')
    const broken = retained.filter((each) => each.broken !== undefined)
    for (const each of broken) console.error(each.broken!.message)
    return broken.length > 0 ? 1 : 0
  },
})

const heads = command({
  doc: 'Prints the signed heads of the chains. Keep them elsewhere.',
  options: { workspace: workspaceAlone },
  async run({ workspace }) {
    const signer = chain()
    const ends = await withLog((database) => endsOf(new PostgresChains({ database }), workspace))
    const at = new Date().toISOString()
    for (const end of ends) process.stdout.write(headLine(signer.state('head', end.workspace, end, at)))
    return 0
  },
})

function timeOf(option: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const time = parseTimeOrDay(text)
  if (time === undefined) throw new UsageError(`--${option} is not a valid time such as 2026-01-31T12:00:00Z`)
  return boundOf(time)
}

/** In milliseconds; at most ten years. */
function ageOf(text: string | undefined): number {
  const [, digits, unit] = /^(\d{1,6})([smhd])$/.exec(text ?? '') ?? []
  const ms = Number(digits) * { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[(unit ?? 's') as 's' | 'm' | 'h' | 'd']
  if (!(ms > 0 && ms <= 315_360_000_000)) throw new UsageError('--older-than must be a time such as 24h or 90d (at most 3650d)')
  return ms
}

await runProgram({
  name: 'relay-audit',
  variables: auditVariables,
  commands: { verify, export: exportEntries, retain: retainEntries, heads },
  // A monitor must be able to rely on 1 meaning tampering and nothing else.
  codes: { 0: 'done, and intact', 1: 'tampered with', 2: 'invalid command, or the database is unreachable or denied access' },
  failed: 2,
  messages: {
    unavailable: 'Postgres does not answer',
    notLetIn: 'Postgres denies this role access to this database',
    noTables: 'The database has no audit log yet. Start the access service once',
    forbidden: 'The role lacks the rights for this command: retain needs the role of AUDIT_RETENTION_DATABASE_URL',
  },
})
