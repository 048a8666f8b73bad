/** Connections to one database, each with bounded waits, and their number. */
import { Pool } from 'pg'
import type { Secret } from '../config.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { runDetached } from '../telemetry/scope.ts'

export interface PoolParts {
  url: Secret
  log: Logger
  /** Maximum. */
  connections: number
  /** Maximum time of one statement, in milliseconds. */
  statementMs: number
}

export function openPool({ url, log, connections, statementMs }: PoolParts): Pool {
  const pool = new Pool({
    connectionString: url.reveal(),
    max: connections,
    connectionTimeoutMillis: 2000,
    idleTimeoutMillis: 60_000,
    statement_timeout: statementMs,
    // The server's own limit does not help when the server is silent.
    query_timeout: statementMs + 500,
    idle_in_transaction_session_timeout: 10_000,
    keepAlive: true,
    application_name: 'relay',
  })
  // Without both, the process dies when Postgres closes a connection: idle ones report here, ones in use on themselves.
  const broke = runDetached((error: Error) => log.warn({ err: error }, 'an idle database connection broke'))
  pool.on('error', broke)
  pool.on('connect', (client) => client.on('error', () => undefined))
  return pool
}

/** The pools of each process: one metric shows all of them. */
const counted = new WeakMap<Metrics, Map<string, Pool>>()

/** `name` is the value of the label `pool`. */
export function countConnections(metrics: Metrics, name: string, pool: Pool): void {
  const known = counted.get(metrics)
  if (known !== undefined) {
    known.set(name, pool)
    return
  }
  const pools = new Map([[name, pool]])
  counted.set(metrics, pools)
  metrics.gauge('postgres_pool_connections', 'Postgres connections by pool and state', ['pool', 'state'], (gauge) => {
    for (const [each, { idleCount, totalCount, waitingCount }] of pools) {
      gauge.set({ pool: each, state: 'idle' }, idleCount)
      gauge.set({ pool: each, state: 'used' }, totalCount - idleCount)
      gauge.set({ pool: each, state: 'waiting' }, waitingCount)
    }
  })
}
