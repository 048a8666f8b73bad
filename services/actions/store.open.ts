/** The service's stores, in one Postgres database with connections for each kind of work. */
import type { Secret } from '#mesh/config.ts'
import { prepareDatabase } from '#mesh/postgres/migrate.ts'
import { openPools } from '#mesh/postgres/pools.ts'
import type { Runtime } from '#mesh/serve.ts'
import { postgresStore } from './store.postgres.ts'
import { retention } from './retention.ts'
import { postgresRunPruner } from './store.retention.postgres.ts'
import { postgresRunReader } from './store.runs.postgres.ts'
import { postgresSettlementStore } from './store.settlements.postgres.ts'

interface StoresConfig {
  databaseUrl: Secret
  databaseConnections: number
  migrateOnStart: boolean
  runDetailsMs: number
  runsMs: number
}

/** Opens the stores once the tables exist. Retention runs, and the pools close, until the process stops. */
export async function openStores({ config, log, metrics, onStop }: Runtime<StoresConfig>) {
  const { databaseUrl: url, databaseConnections: connections } = config
  await prepareDatabase(url, new URL('./migrations/', import.meta.url), log, config)
  const pools = openPools({ url, log, metrics, connections }, { reserved: 0.3, reads: 0.2 })
  onStop('database', () => pools.close())
  const pruning = retention({
    pruner: postgresRunPruner(pools.reserved),
    detailsMs: config.runDetailsMs,
    runsMs: config.runsMs,
    metrics,
    log,
  })
  pruning.start()
  onStop('retention', () => pruning.stop())
  return {
    /** For work that must never wait for callers. */
    reserved: pools.reserved,
    runs: postgresRunReader(pools.reads),
    acting: (audited: () => void) => ({
      store: postgresStore(pools.main, audited, pools.reserved),
      settlements: postgresSettlementStore(pools.main, audited),
    }),
    ping: () => pools.main.ping(),
  }
}
