/** A database of oauth with connections in it whose tokens are known, and what the tests look into it with. */
import { randomBytes, randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { postgresConnectionStore } from '../../../../services/oauth/connections/store.postgres.ts'
import type { ConnectionStore, LeasedConnection, Owner } from '../../../../services/oauth/connections/store.ts'
import { Fernet } from '../../../../services/oauth/vault/fernet.ts'
import type { Vault } from '../../../../services/oauth/vault/vault.ts'
import { freshDatabase } from '../../../setup/database.ts'

const migrations = new URL('../../../../services/oauth/migrations/', import.meta.url)
const principal = { workspace: 'acme', actor: 'ada', keyId: '', requestId: '', traceId: '', source: '' }
export const eventOf = (action: string): AuditEvent => auditEvent('oauth', principal, { action, outcome: 'success' })

export const newKey = (): string => `${randomBytes(32).toString('base64url')}=`
export const bareBy = (key: string, text: string): string => new Fernet(Buffer.from(key, 'base64url')).encrypt(Buffer.from(text), 1)

export interface SealedConnections {
  readonly url: string
  readonly database: Database
  readonly store: ConnectionStore
  /** Connections of `actor-0` … with tokens `access-0`, `refresh-0` …; every third has no refresh token. */
  fill(count: number, vault: Vault): Promise<Owner[]>
  /** What one column of a connection is made to be. */
  put(owner: Owner, column: 'access_sealed' | 'refresh_sealed' | 'legacy', value: string | boolean): Promise<void>
  held(owner: Owner): Promise<LeasedConnection>
  /** Every column of every row, as text, by id. */
  rows(): Promise<string[]>
  /** Rows that hold a token of another key. */
  notUnder(kid: string): Promise<number>
  /** Does something while the fifth connection by id is locked. */
  holdingFifth(work: () => Promise<void>): Promise<void>
  empty(): Promise<void>
  close(): Promise<void>
}

export async function sealedConnections(): Promise<SealedConnections> {
  const fresh = await freshDatabase(migrations)
  const database = new Database({ url: new Secret(fresh.url), log: pino({ level: 'silent' }) })
  const store = postgresConnectionStore(database)
  const query = <Row extends Record<string, unknown>>(name: string, text: string, values: readonly unknown[] = []) =>
    database.query<Row>({ name: `test ${name}`, text }, values)
  return {
    url: fresh.url,
    database,
    store,
    async fill(count, vault) {
      const owners = Array.from({ length: count }, (_, index) => ({ workspace: 'acme', actor: `actor-${index}`, provider: 'google' }))
      const fillOne = (owner: Owner, index: number) => {
        const connectionId = randomUUID()
        const seal = (kind: 'access' | 'refresh') => vault.seal({ workspace: owner.workspace, connectionId, kind }, `${kind}-${index}`)
        const tokens = { access: seal('access'), accessExpiresAt: new Date(), refresh: index % 3 === 2 ? undefined : seal('refresh') }
        return store.upsert({ ...owner, connectionId, account: 'ada@example.com', scopes: ['mail'], tokens }, eventOf('connection.made'))
      }
      await Promise.all(owners.map(fillOne))
      return owners
    },
    async put({ workspace, actor, provider }, column, value) {
      const where = 'workspace = $2 AND actor = $3 AND provider = $4'
      await query(`put ${column}`, `UPDATE connections SET ${column} = $1 WHERE ${where}`, [value, workspace, actor, provider])
    },
    held: async (owner) => (await store.find(owner))!,
    async rows() {
      const rows = await query<{ row: string }>('rows', 'SELECT c::text AS row FROM connections c ORDER BY connection_id')
      return rows.map(({ row }) => row)
    },
    async notUnder(kid) {
      const others = 'access_sealed NOT LIKE $1 OR refresh_sealed NOT LIKE $1'
      const text = `SELECT count(*)::int AS count FROM connections WHERE ${others}`
      const [row] = await query<{ count: number }>('not under', text, [`v1.${kid}.%`])
      return row!.count
    },
    holdingFifth: (work) =>
      database.transaction(async (queries) => {
        const fifth = 'SELECT connection_id FROM connections ORDER BY connection_id OFFSET 4 LIMIT 1'
        await queries.query({ name: 'test no limit', text: 'SET LOCAL idle_in_transaction_session_timeout = 0' })
        await queries.query({ name: 'test fifth', text: `SELECT FROM connections WHERE connection_id = (${fifth}) FOR UPDATE` })
        await work()
      }),
    async empty() {
      await query('empty', 'TRUNCATE connections')
    },
    async close() {
      await database.close()
      await fresh.drop()
    },
  }
}
