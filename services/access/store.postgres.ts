/**
 * All data of access, in one Postgres database with up to three roles: the owner migrates, the service's role cannot change the audit log,
 * and the retention role removes old entries from it.
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
  /** The URL of the service's role. */
  databaseUrl: Secret
  /** The URL of the owner; the service's role is the owner if unset. */
  migrationDatabaseUrl: Secret | undefined
  migrateOnStart: boolean
  /** The URL of the retention role. */
  auditRetentionDatabaseUrl: Secret | undefined
  /** The secret of the audit log's chains. */
  auditKey: Secret
}

/** A statement times out before the calls that wait for it (deadline_ms in the contracts), so that they get the reason. */
const statementMs = 1500

/** Resolves once the tables exist and the roles have their rights. Rejects if either fails. */
export async function openStores({ auditKey, ...parts }: StoresParts) {
  const { databaseUrl, migrationDatabaseUrl, auditRetentionDatabaseUrl, log, metrics, connections } = parts
  const chain = new Chain(auditKey.reveal())
  await prepareDatabase(migrationDatabaseUrl ?? databaseUrl, new URL('migrations/', import.meta.url), log, parts)
  // Reads of the audit log, of any size, wait only for each other: key lookups have their own connections.
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
    if (stands === 'unrestricted') log.warn('the role of DATABASE_URL could change the audit log; set MIGRATION_DATABASE_URL for the owner')
  } catch (error) {
    await close()
    throw error
  } finally {
    await owner.close()
  }
  return {
    /** With the service's role. */
    database,
    chain,
    keys: postgresKeyStore(database),
    signingKeys: signingKeyStore(database),
    signatures: signatureStore(database),
    audit: new PostgresAuditStore({ database, reads, chain }),
    chains: new PostgresChains({ database }),
    /** Undefined if retention is not configured. */
    cutter: retention && new PostgresChains({ database: retention }),
    close,
  }
}
