/** A pool of connections to one Postgres database: named statements, transactions, bounded waits, and errors with a meaning. */
import type { Pool, PoolClient, QueryConfig, QueryResult, QueryResultRow } from 'pg'
import type { Secret } from '../config.ts'
import { MeshError, meshErrors } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { type Attributes, withSpan } from '../telemetry/tracing.ts'
import { countConnections, openPool } from './pool.ts'
import { Silence } from './silence.ts'
import type { Statement } from './statement.ts'

export interface Queries {
  query<Row extends QueryResultRow>(statement: Statement, values?: readonly unknown[]): Promise<Row[]>
}

export interface DatabaseParts {
  url: Secret
  log: Logger
  metrics?: Metrics
  /** Maximum connections; 10 if unset. */
  connections?: number
  /** The name of this pool in metrics, if a process has several for one database; `main` if unset. */
  name?: string
  /** Maximum time of one statement, in milliseconds; 5000 if unset. */
  statementMs?: number
  /** The known state of the server, if several pools share it; this pool's own if unset. */
  silence?: Silence<PoolClient>
}

/** SQLSTATE classes and codes of temporary failures: connection lost, refused or cut, resources exhausted, shutting down, timed out. */
const unavailable = /^(08|53|57P0|57014|25006|58)/

/** Whether the database was unreachable or temporarily unable, as opposed to a mistake in the statement. */
function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof MeshError) return error.reason === 'DEPENDENCY_UNAVAILABLE'
  // A message may quote the statement, so it counts only without a code.
  if ('code' in error && typeof error.code === 'string') return unavailable.test(error.code) || /^E[A-Z]+$/.test(error.code)
  return /timeout|Connection terminated|not queryable|connection error|calling end on the pool/i.test(error.message)
}

/** node-postgres's error if a server is silent for the whole query timeout. */
const isSilence = (error: unknown): boolean => error instanceof Error && (error.message === 'Query read timeout' || isSilence(error.cause))

const translate = (error: unknown): unknown =>
  isUnavailable(error) && !(error instanceof MeshError) ? meshErrors.DEPENDENCY_UNAVAILABLE({ cause: error }) : error

/** A span named after the statement, by https://opentelemetry.io/docs/specs/semconv/db/, without its text and values. */
const spanned = <T>(name: string, server: Attributes, work: () => Promise<T>): Promise<T> =>
  withSpan({ name, kind: 'client', attributes: { ...server, 'db.query.summary': name } }, async (span) => {
    try {
      return await work()
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code)) span?.set({ 'db.response.status_code': code })
      throw error
    }
  })

/** One connection, or any free one. */
interface QueryOptions {
  query<Row extends QueryResultRow>(config: QueryConfig): Promise<QueryResult<Row>>
}

const queriesOf = (asked: QueryOptions, server: Attributes): Queries => ({
  async query<Row extends QueryResultRow>({ name, text }: Statement, values: readonly unknown[] = []): Promise<Row[]> {
    try {
      return (await spanned(name, server, () => asked.query<Row>({ name, text, values: values as unknown[] }))).rows
    } catch (error) {
      throw translate(error)
    }
  },
})

/** How long the server may take to answer a ping. */
const pingMs = 1500

/** The server, as spans name it. */
function serverOf(url: URL | null): Attributes {
  const database = url?.pathname.slice(1) ?? ''
  return {
    // Each database is its own node in the service map, even if several share a host or a name.
    'peer.service': ['postgresql', url?.hostname, database].filter((part) => part !== undefined && part !== '').join('/'),
    'db.system.name': 'postgresql',
    ...(database !== '' && { 'db.namespace': database }),
    ...(url?.hostname && { 'server.address': url.hostname, 'server.port': Number(url.port || 5432) }),
  }
}

/**
 * Throws DEPENDENCY_UNAVAILABLE if the database is unreachable. For a write, the outcome is then unknown: the server may have committed
 * before the connection broke.
 */
export class Database implements Queries {
  readonly pool: Pool
  readonly query: Queries['query']
  readonly #server: Attributes
  readonly #silence: Silence<PoolClient>
  /** Its own connection: whether the database responds does not depend on how many calls wait for it. Opened by the first ping. */
  readonly #pings: Pool

  constructor(parts: DatabaseParts) {
    const statementMs = parts.statementMs ?? 5000
    const { name = 'main', log } = parts
    this.pool = openPool({ url: parts.url, log, connections: parts.connections ?? 10, statementMs })
    this.#pings = openPool({ url: parts.url, log, connections: 1, statementMs: pingMs })
    this.#server = serverOf(URL.parse(parts.url.reveal()))
    this.#silence = parts.silence ?? new Silence()
    this.pool.on('connect', (client) => this.#silence.answered(client))
    this.query = queriesOf({ query: (config) => this.#once(config) }, this.#server).query
    if (parts.metrics !== undefined) countConnections(parts.metrics, name, this.pool)
  }

  /** Runs `work` in one transaction: committed when it resolves, rolled back when it throws. */
  async transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T> {
    const client = await this.#connect().catch((error: unknown) => {
      throw translate(error)
    })
    let broken: Error | undefined
    try {
      await client.query('BEGIN')
      const result = await work(queriesOf(client, this.#server))
      await spanned('COMMIT', this.#server, () => client.query('COMMIT'))
      return result
    } catch (error) {
      // A silent server is not asked again; it rolls back when the connection closes.
      if (isUnavailable(error)) broken = error as Error
      else await client.query('ROLLBACK').catch((failure: Error) => (broken = failure))
      throw translate(error)
    } finally {
      this.#release(client, broken)
    }
  }

  async #once<Row extends QueryResultRow>(config: QueryConfig): Promise<QueryResult<Row>> {
    const client = await this.#connect()
    let broken: Error | undefined
    try {
      return await client.query<Row>(config)
    } catch (error) {
      if (isUnavailable(error)) broken = error as Error
      throw error
    } finally {
      this.#release(client, broken)
    }
  }

  /** A connection that is not suspect; idle suspect ones are closed. */
  async #connect(): Promise<PoolClient> {
    for (;;) {
      const client = await this.pool.connect()
      if (!this.#silence.isSuspect(client)) return client
      client.release(true)
    }
  }

  #release(client: PoolClient, broken: Error | undefined): void {
    if (broken === undefined) this.#silence.answered(client)
    else if (isSilence(broken)) this.#silence.noticed(client)
    client.release(broken)
  }

  async ping(): Promise<void> {
    await this.#pings.query('SELECT 1')
  }

  async close(): Promise<void> {
    await Promise.all([this.pool.end(), this.#pings.end()])
  }
}
