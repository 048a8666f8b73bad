/**
 * A stage for the execute path: real Postgres, the idempotency service's own state machine in memory, and an adapter that counts its
 * effects and waits where a test tells it to. Several replicas can stand on one stage.
 */
import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { z } from 'zod'
import type { Principal } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import { meshErrors } from '#mesh/errors.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Database } from '#mesh/postgres/database.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { newTrace } from '#mesh/telemetry/trace-context.ts'
import type { Adapter, Outcome, RunHandle } from '../../../services/actions/adapter.ts'
import { Catalog } from '../../../services/actions/catalog.ts'
import type { Claim, Claims } from '../../../services/actions/claims.ts'
import type { Connections, AccountRequirement, ConnectionLookup } from '../../../services/actions/connections.ts'
import { RunExecutor } from '../../../services/actions/runs/run-executor.ts'
import { type ExecuteResult, Execution } from '../../../services/actions/runs/execute.ts'
import { ActionMetrics } from '../../../services/actions/metrics.ts'
import { Outbox } from '../../../services/actions/runs/outbox.ts'
import { Previews } from '../../../services/actions/preview.ts'
import { Reconciler } from '../../../services/actions/runs/reconciler.ts'
import { RunWaiter } from '../../../services/actions/runs/run-waiter.ts'
import type { RunKey } from '../../../services/actions/runs/run.ts'
import type { RunPruner } from '../../../services/actions/retention.ts'
import type { RunReader } from '../../../services/actions/runs/run-reader.ts'
import { StrandedClaims } from '../../../services/actions/runs/stranded-claims.ts'
import { postgresStore } from '../../../services/actions/store.postgres.ts'
import { postgresRunPruner } from '../../../services/actions/store.retention.postgres.ts'
import { postgresRunReader } from '../../../services/actions/store.runs.postgres.ts'
import type { Store } from '../../../services/actions/store.ts'
import { MemoryClaimStore } from '../../../services/idempotency/store.memory.ts'
import { freshDatabase } from '../../setup/database.ts'

const log = pino({ level: 'silent' })
const success: Outcome = { status: 'success', result: { ok: true } }

/** Does nothing but count: each entry of `effects` is one effect on the outside world. */
export class Ledger implements Adapter<{ note: string }> {
  readonly action = 'ledger.add'
  readonly provider = 'independent'
  readonly description = 'Adds a line to the ledger.'
  readonly guarantee = 'At most one note per run.'
  readonly reasons = ['LOST']
  readonly params = z.strictObject({ note: z.string() })
  readonly effects: string[] = []
  /** What execute does after the lease is checked; counting the effect is the default. */
  onExecute: (run: RunHandle, effect: () => void) => Promise<Outcome> = async (_run, effect) => {
    effect()
    return success
  }
  onReconcile: (run: RunHandle) => Promise<Outcome> = async () => ({ status: 'unknown', error: { reason: 'LOST', message: 'who knows' } })
  missing: string | undefined
  requires: AccountRequirement | undefined

  unavailable() {
    return this.missing
  }

  async preview(params: { note: string }) {
    return { params, summary: `Add ${params.note}`, warnings: [] }
  }

  async execute(_params: { note: string }, run: RunHandle): Promise<Outcome> {
    await run.assertHeld()
    return this.onExecute(run, () => this.effects.push(run.runId))
  }

  async reconcile(_params: { note: string }, run: RunHandle): Promise<Outcome> {
    return this.onReconcile(run)
  }
}

/** The idempotency service without the network; its clock can be moved, and each method can be made to fail. */
export class StageClaims implements Claims {
  skewMs = 0
  readonly completed: string[] = []
  failing: Partial<Record<keyof Claims, 'before' | 'after'>> = {}
  readonly #store = new MemoryClaimStore({ retentionMs: 86_400_000, clock: () => Date.now() + this.skewMs })

  async #may<T>(method: keyof Claims, work: () => Promise<T>): Promise<T> {
    const failing = this.failing[method]
    if (failing === 'before') throw meshErrors.DEPENDENCY_UNAVAILABLE()
    const result = await work()
    if (failing === 'after') throw meshErrors.DEPENDENCY_UNAVAILABLE()
    return result
  }

  claim({ key, fingerprint, compare, attemptId, runId }: Parameters<Claims['claim']>[0]): Promise<Claim> {
    return this.#may('claim', async () => {
      const answer = await this.#store.claim(key, { fingerprint, compare, attemptId, runId, leaseMs: 5000, token: randomUUID() })
      return answer.outcome === 'in_flight' ? { ...answer, outcome: 'in-flight' } : answer
    })
  }

  release(key: RunKey, token: string): Promise<void> {
    return this.#may('release', async () => void (await this.#store.release(key, token)))
  }

  async expired({ expiredForMs, limit }: { expiredForMs: number; limit: number }): Promise<{ key: RunKey; runId: string }[]> {
    return (await this.#store.expired({ kinds: ['client', 'preview'], expiredForMs, limit })) as { key: RunKey; runId: string }[]
  }

  abandon(key: RunKey, runId: string): Promise<void> {
    return this.#may('abandon', () => this.#store.abandon(key, runId))
  }

  /** How many keys hold a claim whose lease expired. */
  async lapsed(): Promise<number> {
    return (await this.#store.expiredClaims()).count
  }

  complete(key: RunKey, runId: string): Promise<void> {
    return this.#may('complete', async () => {
      await this.#store.complete(key, { runId, token: undefined, response: undefined })
      this.completed.push(runId)
    })
  }
}

/** The oauth service without the network: what it finds is what a test sets. */
export class StageConnections implements Connections {
  found: ConnectionLookup = { configured: true, connection: undefined, authorizePath: '/oauth/google/authorize' }
  away = false

  async find(): Promise<ConnectionLookup> {
    if (this.away) throw meshErrors.DEPENDENCY_UNAVAILABLE()
    return this.found
  }

  async token() {
    return { accessToken: 'a-token', scopes: [] }
  }
}

export interface Replica {
  store: Store
  execution: Execution
  executor: RunExecutor
  outbox: Outbox
  reconciler: Reconciler
  stranded: StrandedClaims
}

export interface Harness {
  url: string
  database: Database
  runs: RunReader
  pruner: RunPruner
  databaseUrl: string
  ledger: Ledger
  claims: StageClaims
  connections: StageConnections
  replica(options?: ReplicaOptions): Replica
  /**
   * Leases run out, as they do when their holder was killed: nothing renews them, nothing writes for them. And the store has been there all
   * the time, so that they may be taken.
   */
  lapse(): Promise<void>
  preview(note?: string, who?: Partial<Principal> & { ttlMs?: number }): Promise<string>
  previewOf(action: string, params: Record<string, unknown>, who?: Partial<Principal> & { ttlMs?: number }): Promise<string>
  close(): Promise<void>
}

export interface StageOptions {
  /** Beside the ledger. */
  // oxlint-disable-next-line typescript/no-explicit-any -- adapters of whatever parameters, as the catalog takes them
  adapters?: readonly Adapter<any>[]
  connections?: Connections
}

export interface ReplicaOptions {
  leaseMs?: number
  waitMs?: number
  /** How long an adapter may act. */
  actMs?: number
  /** Its own way to the database. */
  database?: Database
  store?: (real: Store) => Store
}

export async function openHarness({ adapters = [], connections: given }: StageOptions = {}): Promise<Harness> {
  const fresh = await freshDatabase('services/actions/migrations')
  const database = new Database({ url: new Secret(fresh.url), log, connections: 20 })
  const real = postgresStore(database)
  const ledger = new Ledger()
  const catalog = new Catalog([ledger, ...adapters])
  const claims = new StageClaims()
  const harness = new StageConnections()
  const connections = given ?? harness
  const replicas: Replica[] = []
  const previewOf: Harness['previewOf'] = async (action, params, { ttlMs = 60_000, ...who } = {}) => {
    const previews = new Previews({ catalog, store: real, connections, ttlMs })
    const asked = { action, params, principal: principalOf(who), context: { ...ownContext(), signal: AbortSignal.timeout(5000) } }
    return (await previews.preview(asked)).previewId
  }
  return {
    url: fresh.url,
    database,
    runs: postgresRunReader(database),
    pruner: postgresRunPruner(database),
    databaseUrl: fresh.url,
    ledger,
    claims,
    connections: harness,
    replica({ leaseMs = 15_000, waitMs = 2000, actMs = 20_000, database: own, store: wrap = (each: Store) => each }: ReplicaOptions = {}) {
      const store = wrap(own === undefined ? real : postgresStore(own))
      const metrics = new ActionMetrics(new Metrics('test'), store)
      const waiter = new RunWaiter((runId) => store.findEndedRun(runId))
      const outbox = new Outbox({ store, claims, log, intervalMs: 50, strandedAfterMs: 3_600_000 })
      const executor = new RunExecutor({ store, catalog, outbox, waiter, metrics, log, leaseMs, actMs })
      const reconciler = new Reconciler({ store, executor, metrics, log, leaseMs, intervalMs: 50, keepPreviewsMs: 3_600_000 })
      const execution = new Execution({ store, claims, catalog, connections, executor, waiter, leaseMs, waitMs })
      const stranded = new StrandedClaims({ store, claims, log, intervalMs: 50, expiredForMs: 0 })
      const replica = { store, execution, executor, outbox, reconciler, stranded }
      replicas.push(replica)
      return replica
    },
    async lapse() {
      await database.pool.query(`UPDATE runs SET lease_until = clock_timestamp() - interval '1 minute' WHERE status = 'executing'`)
      await steady(database)
    },
    preview: (note = 'milk', who = {}) => previewOf('ledger.add', { note }, who),
    previewOf,
    async close() {
      for (const { reconciler, executor, outbox, stranded } of replicas) {
        await stranded.stop()
        await reconciler.stop()
        await executor.drain()
        await outbox.stop()
      }
      await database.close()
      await fresh.drop()
    },
  }
}

/** The store has been beaten without a gap for an hour. */
export async function steady(database: Database): Promise<void> {
  await database.pool.query(
    `INSERT INTO heartbeat (beat_at, steady_since) VALUES (clock_timestamp(), clock_timestamp() - interval '1 hour')
     ON CONFLICT (only_row) DO UPDATE SET beat_at = EXCLUDED.beat_at, steady_since = EXCLUDED.steady_since`,
  )
}

/** Ada of acme, unless it is said otherwise. */
export const principalOf = (who: Partial<Principal> = {}): Principal => ({
  workspace: 'acme',
  actor: 'ada',
  keyId: 'key-1',
  requestId: randomUUID(),
  traceId: newTrace().traceId,
  source: '192.0.2.1',
  ...who,
})

export const execute = (replica: Replica, previewId: string, key?: string, who: Partial<Principal> = {}): Promise<ExecuteResult> =>
  replica.execution.execute({ previewId, idempotencyKey: key, principal: principalOf(who), context: ownContext() })

/** A point that a test opens. */
export function latch(): { opened: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}
