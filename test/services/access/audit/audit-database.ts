/** A database of access with the roles that a deployment has: the owner, the service, and retention. */
import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { PostgresChains } from '../../../../services/access/audit/store.chain.postgres.ts'
import { PostgresAuditStore } from '../../../../services/access/audit/store.postgres.ts'
import { type Verdict, verifyLog } from '../../../../services/access/audit/verify.ts'
import { grantRights } from '../../../../services/access/grants.ts'
import { freshDatabase } from '../../../setup/database.ts'
import { chain } from './chained.ts'

const migrations = new URL('../../../../services/access/migrations/', import.meta.url)
const log = pino({ level: 'silent' })

export interface AuditDatabase {
  readonly urls: Record<'owner' | 'service' | 'retention', string>
  readonly store: PostgresAuditStore
  /** As the service's role. */
  readonly chains: PostgresChains
  /** As the role of retention. */
  readonly cutter: PostgresChains
  /** More stores, each with connections of its own, as replicas have. */
  replica(): PostgresAuditStore
  /** What somebody does who owns the tables. */
  tamper(sql: string): Promise<void>
  /** What a role may do, as SQLSTATE; 'done' where it may. */
  attempt(role: 'service' | 'retention', sql: string): Promise<string>
  verify(): Promise<Verdict>
  close(): Promise<void>
}

export async function auditDatabase(): Promise<AuditDatabase> {
  const fresh = await freshDatabase(migrations)
  const suffix = randomBytes(6).toString('hex')
  const opened: Database[] = []
  const open = (url: string): Database => {
    const database = new Database({ url: new Secret(url), log })
    opened.push(database)
    return database
  }
  const owner = open(fresh.url)
  const run = (database: Database, text: string) => database.query({ name: '', text })
  const roleUrl = async (name: string): Promise<string> => {
    await run(owner, `CREATE ROLE ${name}_${suffix} LOGIN PASSWORD '${suffix}'`)
    const url = new URL(fresh.url)
    url.username = `${name}_${suffix}`
    url.password = suffix
    return url.href
  }
  const urls = { owner: fresh.url, service: await roleUrl('service'), retention: await roleUrl('retention') }
  const roles = { service: open(urls.service), retention: open(urls.retention) }
  await grantRights({ owner, ...roles })

  const chains = new PostgresChains({ database: roles.service })
  return {
    urls,
    store: new PostgresAuditStore({ database: roles.service, chain }),
    chains,
    cutter: new PostgresChains({ database: roles.retention }),
    replica: () => new PostgresAuditStore({ database: open(urls.service), chain }),
    tamper: async (sql) => void (await run(owner, sql)),
    attempt: (role, sql) =>
      run(roles[role], sql).then(
        () => 'done',
        (error: { code?: string }) => error.code ?? 'failed',
      ),
    verify: () => chains.look((view) => verifyLog({ chain, view })),
    async close() {
      await Promise.all(opened.slice(1).map((database) => database.close()))
      // Roles are of the cluster, not of the database.
      for (const role of ['service', 'retention']) await run(owner, `DROP OWNED BY ${role}_${suffix}`)
      for (const role of ['service', 'retention']) await run(owner, `DROP ROLE ${role}_${suffix}`)
      await owner.close()
      await fresh.drop()
    },
  }
}
