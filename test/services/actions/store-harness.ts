/** A store on a database of its own, for one test file, and runs in it. */
import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { auditEvent } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { canonicalBytes } from '../../../services/actions/canonical.ts'
import { postgresStore } from '../../../services/actions/store.postgres.ts'
import type { NewRun, Store } from '../../../services/actions/store.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'
import { principalOf, steady } from './harness.ts'

export const params = canonicalBytes({ url: 'https://example.com/', body: { b: 1, a: 'é' } })

export const event = () => auditEvent('actions', principalOf(), { action: 'actions.test', outcome: 'success' })

export const beginOf = (previewId: string, over: Partial<NewRun> = {}): NewRun => ({
  runId: randomUUID(),
  spanId: 'b7ad6b7169203331',
  attemptId: randomUUID(),
  previewId,
  key: { workspace: 'acme', kind: 'client', key: 'k' },
  leaseMs: 60_000,
  principal: principalOf(),
  ...over,
})

/** There while the tests of the file run; runs may be taken over at the beginning of each. */
export class StoreStage {
  database!: Database
  store!: Store

  constructor() {
    let fresh: FreshDatabase
    beforeAll(async () => {
      fresh = await freshDatabase('services/actions/migrations')
      this.database = new Database({ url: new Secret(fresh.url), log: pino({ level: 'silent' }) })
      this.store = postgresStore(this.database)
    })
    beforeEach(() => steady(this.database))
    afterAll(async () => {
      await this.database?.close()
      await fresh?.drop()
    })
  }

  async preview(over: { ttlMs?: number; workspace?: string; actor?: string } = {}): Promise<string> {
    const previewId = randomUUID()
    await this.store.addPreview({
      previewId,
      workspace: over.workspace ?? 'acme',
      actor: over.actor ?? 'ada',
      action: 'ledger.add',
      provider: 'independent',
      params,
      summary: 'Add',
      warnings: ['careful'],
      connectionId: undefined,
      ttlMs: over.ttlMs ?? 60_000,
      event: event(),
    })
    return previewId
  }

  async begun(over: Partial<NewRun> = {}) {
    const result = await this.store.begin(beginOf(await this.preview(), over))
    if (result.outcome !== 'begun') throw new Error(`expected a run, got ${result.outcome}`)
    return result.run
  }

  /** All runs whose holders were lost. */
  claimExpired() {
    return this.store.claimExpiredRuns({ limit: 100, leaseMs: 60_000, gapMs: 20_000, except: [] })
  }
}
