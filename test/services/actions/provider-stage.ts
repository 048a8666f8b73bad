/** Accounts, runs and crashes: what the tests of actions at providers have in common. */
import { afterEach, expect } from 'vitest'
import { ownContext } from '#mesh/grpc/call.ts'
import type { Adapter, Outcome, PreviewContext, RunHandle } from '../../../services/actions/adapter.ts'
import type { Connected, Connections } from '../../../services/actions/connections.ts'
import { LeaseLost } from '../../../services/actions/lease.ts'

export const runId = '3a033cc1-0000-4000-8000-00000000000f'
export const connectionId = '5b000000-0000-4000-8000-000000000001'

export const connected = (part: Partial<Connected> = {}): Connected => ({
  connectionId,
  account: 'ada@example.com',
  scopes: [],
  status: 'connected',
  reason: undefined,
  ...part,
})

export const asking = (connection: Connected | undefined = connected()): PreviewContext => ({
  workspace: 'default',
  actor: 'tester',
  signal: new AbortController().signal,
  connection,
})

/** Gives these tokens, the next one whenever one was refused. */
export function account(scopes: readonly string[] = [], tokens: readonly string[] = ['token-1', 'token-2']): Connections {
  return {
    find: async () => ({ configured: true, connection: connected({ scopes }), authorizePath: '/oauth/x/authorize' }),
    token: async (_owned, _context, refused) => ({
      accessToken: tokens[refused === undefined ? 0 : tokens.indexOf(refused) + 1] ?? 'none',
      scopes,
    }),
  }
}

const open = new Set<{ close(): unknown }>()
afterEach(async () => {
  for (const each of open) await each.close()
  open.clear()
})

/** Closes it after the test. */
export function closing<T extends { close(): unknown }>(server: T): T {
  open.add(server)
  return server
}

/** What a client's JSON comes to: the parsed parameters, previewed, as they are stored. */
export async function stored<P>(adapter: Adapter<P>, json: unknown): Promise<P> {
  const shown = await adapter.preview(adapter.params.parse(json), asking())
  return adapter.params.parse(JSON.parse(JSON.stringify(shown.params)))
}

export class Crash extends Error {}

/** Where a holder is lost: before its recovery point is durable, after that, or right before what cannot be taken back. */
export type CrashPoint = 'before the point' | 'after the point' | 'before the effect'

/** One run, through all its attempts: what it recorded stays. */
export class Life {
  readonly runId: string
  recovery: Record<string, unknown> | undefined
  attempts = 0

  constructor(id: string = runId) {
    this.runId = id
  }

  /** The next attempt; its process is lost at `crash`. */
  attempt(crash?: CrashPoint, part: Partial<RunHandle> = {}): RunHandle {
    this.attempts += 1
    const { recovery, attempts: attempt } = this
    const [lost, context] = [() => crash !== undefined && this.attempts === attempt, ownContext()]
    return {
      runId: this.runId,
      workspace: 'default',
      actor: 'tester',
      connectionId,
      context,
      signal: new AbortController().signal,
      recovery,
      attempt,
      record: async (point) => {
        if (this.attempts !== attempt) throw new LeaseLost('another one holds the run')
        if (lost() && crash === 'before the point') throw new Crash(crash)
        this.recovery = structuredClone(point)
        if (lost() && crash === 'after the point') throw new Crash(crash)
      },
      assertHeld: () => {
        if (this.attempts !== attempt) throw new LeaseLost('another one holds the run')
        if (lost() && crash === 'before the effect') throw new Crash(crash)
      },
      ...part,
    }
  }
}

/** Drives a run to its end as the driver and the reconciler do: whoever is lost is followed by another one. */
export async function driven<P>(
  adapter: Adapter<P>,
  params: P,
  life: Life,
  crashes: readonly (CrashPoint | undefined)[] = [],
): Promise<Outcome> {
  for (let attempt = 0; ; attempt += 1) {
    const run = life.attempt(crashes[attempt])
    try {
      return await (run.attempt === 1 ? adapter.execute(params, run) : adapter.reconcile(params, run))
    } catch (error) {
      if (!(error instanceof Crash)) throw error
    }
  }
}

/** Holds an outcome to its status and its reason, and the reason to a closed list; returns the message. */
export function expectError(outcome: Outcome, status: 'failed' | 'unknown', reason: string, reasons: readonly string[]): string {
  expect(outcome).toMatchObject({ status, error: { reason } })
  expect(reasons).toContain(reason)
  return outcome.status === 'success' ? '' : outcome.error.message
}
