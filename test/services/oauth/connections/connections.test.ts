import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { Connections } from '../../../../services/oauth/connections/connections.ts'
import type { Owner } from '../../../../services/oauth/connections/store.ts'
import { type TokenCache, noCache } from '../../../../services/oauth/connections/token-cache.ts'
import { type FreshDatabase, freshDatabase } from '../../../setup/database.ts'
import { FakeProvider, type Replica, principal, openReplica } from '../tokens/replica.ts'

describe('connections', () => {
  let fresh: FreshDatabase
  let replica: Replica
  let forgotten: (Owner & { epoch: number })[]
  let acted: number
  let connections: Connections
  beforeAll(async () => {
    fresh = await freshDatabase(new URL('../../../../services/oauth/migrations/', import.meta.url))
    replica = openReplica(fresh.url, new FakeProvider())
  })
  beforeEach(() => {
    ;[forgotten, acted] = [[], 0]
    const cache: TokenCache = { ...noCache, forget: (owner) => forgotten.push(owner) }
    connections = new Connections({ store: replica.store, cache, acted: () => (acted += 1) })
  })
  afterAll(async () => {
    await replica.close()
    await fresh.drop()
  })

  const newOne = () => ({
    connectionId: randomUUID(),
    workspace: principal.workspace,
    actor: principal.actor,
    provider: 'google',
    account: 'ann@example.com',
    scopes: ['mail'],
    tokens: { access: 'sealed', accessExpiresAt: new Date(Date.now() + 60_000) },
  })
  const told = async (connectionId: string) => {
    const text = 'SELECT event FROM audit_outbox WHERE event LIKE $1'
    const { rows } = await replica.database.pool.query<{ event: string }>(text, [`%${connectionId}%`])
    return rows.map(({ event }) => JSON.parse(event) as AuditEvent)
  }

  test('that are made and removed are told to the audit log with who did it, once each', async () => {
    const made = newOne()
    await connections.made(made, principal)
    expect(await connections.remove(principal, made.connectionId)).toMatchObject({ tokens: { access: 'sealed' } })
    expect(await connections.remove(principal, made.connectionId)).toBeUndefined()
    expect(acted).toBe(2)
    const events = await told(made.connectionId)
    expect(events.map(({ action }) => action)).toEqual(['connection.made', 'connection.removed'])
    for (const event of events) {
      const { actor, workspace, requestId, source } = principal
      expect(event).toMatchObject({ service: 'oauth', outcome: 'success', actor, workspace, requestId, source })
      expect(event.targets).toContain(`connection:${made.connectionId}`)
      expect(JSON.stringify(event)).not.toContain('ann@example.com')
    }
  })

  test('leave no earlier token in the cache, and let their own be put there', async () => {
    const first = await connections.made(newOne(), principal)
    const second = await connections.made(newOne(), principal)
    await connections.remove(principal, second.connectionId)
    const [, atSecond, atEnd] = forgotten.map(({ epoch }) => epoch)
    expect(atSecond).toBeGreaterThanOrEqual(first.epoch)
    expect(atSecond).toBeLessThan(second.epoch)
    expect(atEnd).toBe(second.epoch)
  })
})
