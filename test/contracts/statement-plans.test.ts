/** The plan of every statement of every service, over tables as large as they get in a day of work. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { auditOutboxStore } from '#mesh/audit/outbox.postgres.ts'
import type { Database, Queries } from '#mesh/postgres/database.ts'
import { type Statement, knownStatements } from '#mesh/postgres/statement.ts'
import { listEntries } from '../../services/access/audit/store.list.postgres.ts'
import type { EntryFilter } from '../../services/access/audit/store.ts'
import { type FreshDatabase, freshDatabase } from '../setup/database.ts'
import { examples, fill, inVain, small } from './statement-plans.ts'

const root = join(import.meta.dirname, '../..')
/** Whose database a statement is for, by the prefix that its store gives. */
const databases: Readonly<Record<string, string>> = {
  'actions.': 'actions',
  'claims ': 'idempotency',
  'keys ': 'access',
  'signing keys ': 'access',
  'signature keys ': 'access',
  'audit chain ': 'access',
  'audit ': 'access',
  'connect ': 'oauth',
  'connections ': 'oauth',
  'revocations ': 'oauth',
  'access.': 'access',
  'oauth.': 'oauth',
}
/** What no plan is made of. */
const utility = /^(?:FETCH|CLOSE|SET)\b/
const ownerOf = ({ name }: Statement): string | undefined => Object.entries(databases).find(([prefix]) => name.startsWith(prefix))?.[1]

const files = ['services', 'mesh'].flatMap((folder) =>
  (readdirSync(join(root, folder), { recursive: true }) as string[])
    .filter((path) => path.endsWith('.ts'))
    .map((path) => join(folder, path)),
)
const sources = new Map(files.map((path) => [path, readFileSync(join(root, path), 'utf8')]))
const stores = files.filter((path) => sources.get(path)!.includes('= statementMaker('))

for (const path of stores) await import(join(root, path))
for (const service of ['access', 'actions', 'oauth']) auditOutboxStore(undefined as unknown as Database, service)
const filters: EntryFilter = {
  action: 'keys.create',
  outcome: 'failed',
  actor: 'ada',
  keyId: 'key-7',
  target: 'run:77',
  from: '2026-11-27T00:00:00Z',
  until: '2026-11-27T00:00:00Z',
}
/** Every set of filters. */
const sets = Object.entries(filters).reduce<EntryFilter[]>(
  (made, [name, value]) => [...made, ...made.map((each) => ({ ...each, [name]: value }))],
  [{}],
)
/** Says where a period begins and ends in the chain, so that the spans around it are walked too. */
const bounds: Readonly<Record<string, number>> = { 'audit last before': 40_000, 'audit first beyond': 60_000 }
const nothing = { query: async ({ name }: Statement) => (name in bounds ? [{ sequence: bounds[name] }] : []) } as unknown as Queries
for (const order of ['newest first', 'oldest first'] as const)
  for (const filter of sets) await listEntries(nothing, { workspace: 'acme', filter, order, limit: 50, after: undefined })
const all = [...knownStatements.values()].filter((each) => ownerOf(each) !== undefined)

test('every statement is made where this test finds it', () => {
  for (const path of stores.filter((each) => each.startsWith('services'))) {
    expect(sources.get(path), path).toMatch(
      new RegExp(`statementMaker\\('(?:${Object.keys(databases).join('|').replaceAll('.', '\\.')})'\\)`),
    )
  }
  // Nobody writes one down beside them, but for what a migration does once.
  const beside = [...sources].filter(
    ([path, text]) => path !== 'mesh/postgres/statement.ts' && /\{ name(?:: [^,{}]+)?, text(?:: [^{}]+)? \}/.test(text),
  )
  expect(beside.map(([path]) => path)).toEqual(['services/access/grants.ts', 'mesh/postgres/database.ts'])
  expect(all.length).toBeGreaterThan(90)
})

describe.each(['actions', 'idempotency', 'access', 'oauth'] as const)('over 100,000 rows, %s', (service) => {
  let fresh: FreshDatabase
  let client: Client
  beforeAll(async () => {
    fresh = await freshDatabase(`services/${service}/migrations/`)
    client = new Client({ connectionString: fresh.url })
    await client.connect()
    for (const sql of fill[service]) await client.query(sql)
    await client.query('VACUUM ANALYZE')
    await client.query(`SET relay.workspace = 'acme'; SET plan_cache_mode = force_generic_plan`)
  }, 240_000)
  afterAll(async () => {
    await client?.end()
    await fresh?.drop()
  })

  const own = all.filter((each) => ownerOf(each) === service && !utility.test(each.text))
  test.each(own.map((each) => [each.name, each] as const))('%s reads little more than it returns', async (name, { text }) => {
    const sql = text.replace(/^DECLARE \w+ NO SCROLL CURSOR FOR /, '')
    await client.query('BEGIN')
    try {
      await client.query(`PREPARE looked_at AS ${sql}`)
      const { rows } = await client.query<{ types: string[] }>(
        `SELECT parameter_types::text[] AS types FROM pg_prepared_statements WHERE name = 'looked_at'`,
      )
      const example = name.startsWith('audit list ') ? [undefined, '0', '4294967296'] : examples[name]
      const values = rows[0]!.types.map((type, index) =>
        client.escapeLiteral(example?.[index] ?? usual(type, text.includes('INSERT INTO'))),
      )
      const run = `EXECUTE looked_at${values.length === 0 ? '' : `(${values.join(', ')})`}`
      const explained = await client.query<{ 'QUERY PLAN': [{ Plan: Plan }] }>(`EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ${run}`)
      expect(faultsOf(explained.rows[0]!['QUERY PLAN'][0].Plan, inVain(name))).toEqual([])
    } finally {
      await client.query('ROLLBACK')
      await client.query('DEALLOCATE ALL')
    }
  })
})

const newId = 'ffffffff-0000-4000-8000-0000000003e8'
const someId = '00000000-0000-0000-0000-0000000003e8'
/** A value of a type, where the statement has no example of its own. */
function usual(type: string, fresh: boolean): string {
  const value: Record<string, string> = {
    uuid: fresh ? newId : someId,
    text: 'acme',
    bytea: '\\x00000000000000000000000000000000000000000000000000000000000003e8',
    json: '[]',
    boolean: 'true',
    'timestamp with time zone': '2026-11-27T00:00:00Z',
  }
  if (type.endsWith('[]')) {
    const one = value[type.slice(0, -2)] ?? '50'
    return `{"${one.replaceAll('\\', '\\\\')}"}`
  }
  return value[type] ?? '50'
}

interface Plan {
  'Node Type': string
  'Relation Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  'Rows Removed by Index Recheck'?: number
  'Rows Removed by Join Filter'?: number
  Plans?: Plan[]
}

function faultsOf(plan: Plan, allowed: number): string[] {
  const { 'Node Type': kind, 'Relation Name': table, 'Actual Loops': loops } = plan
  const removed =
    (plan['Rows Removed by Filter'] ?? 0) + (plan['Rows Removed by Index Recheck'] ?? 0) + (plan['Rows Removed by Join Filter'] ?? 0)
  const here = [
    ...(kind === 'Seq Scan' && !small.has(table!) ? [`reads all of ${table}`] : []),
    // A few rows more are nobody's trouble.
    ...(removed * loops > Math.max(allowed, 10 * plan['Actual Rows'] * loops)
      ? [`${kind} on ${table ?? '?'} reads ${removed * loops} rows in vain`]
      : []),
  ]
  return [...here, ...(plan.Plans ?? []).flatMap((each) => faultsOf(each, allowed))]
}
