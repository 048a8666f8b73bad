/**
 * All that access keeps, in one Postgres database as up to three roles: its owner migrates, the service runs as one that changes nothing in
 * the audit log, and what is old is removed from there as a third.
 */
import type { Secret } from '#mesh/config.ts'
import { Database, type DatabaseParts } from '#mesh/postgres/database.ts'
import { prepareDatabase } from '#mesh/postgres/migrate.ts'
import { openPools } from '#mesh/postgres/pools.ts'
import { Chain } from './audit/chain.ts'
import { PostgresChains } from './audit/store.chain.postgres.ts'
import { PostgresAuditStore } from './audit/store.postgres.ts'
import { grantRights } from './grants.ts'
import { postgresKeyStore } from './keys/store.postgres.ts'
import { signatureStore } from './signatures/store.postgres.ts'
import { signingKeyStore } from './tokens/store.postgres.ts'

export interface StoresParts extends Omit<DatabaseParts, 'url' | 'statementMs'> {
  /** As the service. */
  databaseUrl: Secret
  /** As the owner; the service is the owner when unset. */
  migrationDatabaseUrl: Secret | undefined
  migrateOnStart: boolean
  /** As who removes what is old from the audit log. */
  auditRetentionDatabaseUrl: Secret | undefined
  /** What the audit log is chained with. */
  auditKey: Secret
}

/** A statement gives up before the calls that wait for it do (deadline_ms in the contracts), so that they hear why. */
const statementMs = 1500

/** Once the tables are there and the roles have their rights. Rejects where that is not to be had. */
export async function openStores({ auditKey, ...parts }: StoresParts) {
  const { databaseUrl, migrationDatabaseUrl, auditRetentionDatabaseUrl, log, metrics, connections } = parts
  const chain = new Chain(auditKey.reveal())
  await prepareDatabase(migrationDatabaseUrl ?? databaseUrl, new URL('migrations/', import.meta.url), log, parts)
  // Who reads the audit log, however much of it, waits for others who do: keys are looked up beside that.
  const {
    main: database,
    reads,
    close: closePools,
  } = openPools({ url: databaseUrl, log, metrics, connections, statementMs }, { reads: 0.2 })
  const retention = auditRetentionDatabaseUrl && new Database({ url: auditRetentionDatabaseUrl, log, connections: 1 })
  const owner = new Database({ url: migrationDatabaseUrl ?? databaseUrl, log, connections: 1 })
  const close = async () => void (await Promise.all([closePools(), retention?.close()]))
  try {
    const stands = await grantRights({ owner, service: database, retention })
    if (stands === 'unrestricted') log.warn('the role of DATABASE_URL could change the audit log: MIGRATION_DATABASE_URL is for the owner')
  } catch (error) {
    await close()
    throw error
  } finally {
    await owner.close()
  }
  return {
    /** As the service. */
    database,
    chain,
    keys: postgresKeyStore(database),
    signingKeys: signingKeyStore(database),
    signatures: signatureStore(database),
    audit: new PostgresAuditStore({ database, reads, chain }),
    chains: new PostgresChains({ database }),
    /** Undefined where nothing removes what is old. */
    cutter: retention && new PostgresChains({ database: retention }),
    close,
  }
}
