/** gmail.send_email through the real driver and store: holders that vanish in the middle, and reconcilers that take their runs over. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { googleMailAdapter } from '../../../providers/google/gmail-send-email.ts'
import type { Connections } from '../../../services/actions/connections.ts'
import type { Run } from '../../../services/actions/runs/run.ts'
import type { Store } from '../../../services/actions/store.ts'
import { type Gmail, gmailScopes, startGmail } from '../../fakes/gmail.ts'
import { mail } from './gmail-harness.ts'
import { type Harness, principalOf, execute, openHarness } from '../../services/actions/harness.ts'

let harness: Harness
let gmail: Gmail
beforeEach(async () => {
  gmail = await startGmail()
  const scopes = [gmailScopes.compose, gmailScopes.metadata]
  const connection = { connectionId: randomUUID(), account: 'ada@example.com', scopes, status: 'connected' as const, reason: undefined }
  const connections: Connections = {
    find: async () => ({ configured: true, connection, authorizePath: '/oauth/google/authorize' }),
    token: async () => ({ accessToken: 'good-token', scopes }),
  }
  harness = await openHarness({
    adapters: [googleMailAdapter({ connections, baseUrl: gmail.url, timeoutMs: 2000, retryMs: 1, settleMs: 1 })],
    connections,
  })
})
afterEach(async () => {
  await harness?.close()
  await gmail?.close()
})

const preview = () => harness.previewOf('gmail.send_email', JSON.parse(JSON.stringify(mail)) as Record<string, unknown>)

/** A holder that hears no more of its database from that call on, made or not: as a process that is killed there leaves it, until it is let go. */
function vanishingAt(name: 'recordPoint' | 'endRun', when: 'before' | 'after') {
  const { promise: never, reject: letGo } = Promise.withResolvers<never>()
  never.catch(() => undefined)
  const store = (real: Store): Store => {
    let gone = false
    const lost =
      <Args extends unknown[], T>(method: (...args: Args) => Promise<T>, vanishes: boolean) =>
      async (...args: Args): Promise<T> => {
        if (gone) return never
        if (!vanishes) return method(...args)
        gone = true
        if (when === 'after') await method(...args)
        return never
      }
    return {
      ...real,
      renewLease: lost(real.renewLease, false),
      recordPoint: lost(real.recordPoint, name === 'recordPoint'),
      endRun: lost(real.endRun, name === 'endRun'),
      claimExpiredRuns: async () => [],
    }
  }
  return { store, letGo: () => letGo(new Error('this process is gone')) }
}

test.each([
  ['before its draft is recorded', 'recordPoint', 'before', undefined],
  ['once its draft is recorded', 'recordPoint', 'after', undefined],
  ['after the mail went out', 'endRun', 'before', undefined],
  ['after the mail went out and the answer was lost', 'endRun', 'before', 'lost'],
] as const)('a holder that vanishes %s costs no mail and sends none twice', async (_, name, when, how) => {
  gmail.fault = (asked) => (asked.name === 'drafts.send' && asked.index === 0 && how !== undefined ? { how } : undefined)
  const previewId = await preview()
  const vanishing = vanishingAt(name, when)
  const doomed = harness.replica({ leaseMs: 600, store: vanishing.store })
  const lost = execute(doomed, previewId, 'k1').catch(() => undefined)
  try {
    const other = harness.replica({ leaseMs: 5000 })
    other.reconciler.start()
    const run = await vi.waitFor(
      async () => {
        const { runs } = await harness.runs.list({ workspace: principalOf().workspace, status: undefined, limit: 1, after: undefined })
        expect(runs[0]?.status).toBe('success')
        return (await harness.runs.find(runs[0]!.runId)) as Run
      },
      { timeout: 10_000, interval: 50 },
    )
    expect(run.epoch).toBe(2)
    expect(gmail.outbox).toHaveLength(1)
    expect(gmail.outbox[0]!.toString()).toContain(`<${run.runId}@example.com>`)
    expect(gmail.drafts.size).toBe(0)
  } finally {
    vanishing.letGo()
    await lost
  }
})
