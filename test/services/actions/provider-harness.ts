/** Accounts, runs and crashes: what the tests of actions at providers have in common. */
import { ownContext } from '#mesh/grpc/call.ts'
import type { Adapter, Outcome, RunHandle } from '../../../services/actions/adapter.ts'
import type { ConnectedAccount, Connections } from '../../../services/actions/connections.ts'
import { LeaseLostError } from '../../../services/actions/runs/lease.ts'
import { previewing, run, runId, stored as storedBy } from './adapter-harness.ts'

export const connectionId = '5b000000-0000-4000-8000-000000000001'

export const connected = (part: Partial<ConnectedAccount> = {}): ConnectedAccount => ({
  connectionId,
  account: 'ada@example.com',
  scopes: [],
  status: 'connected',
  reason: undefined,
  ...part,
})

export const asking = (connection: ConnectedAccount | undefined = connected()) => previewing({ connection })

/** As a preview with that account stores it. */
export const stored = <P>(adapter: Adapter<P>, json: unknown): Promise<P> => storedBy(adapter, json, asking())

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
    return run({
      runId: this.runId,
      connectionId,
      context,
      recovery,
      attempt,
      record: async (point) => {
        if (this.attempts !== attempt) throw new LeaseLostError('another one holds the run')
        if (lost() && crash === 'before the point') throw new Crash(crash)
        this.recovery = structuredClone(point)
        if (lost() && crash === 'after the point') throw new Crash(crash)
      },
      assertHeld: async () => {
        if (this.attempts !== attempt) throw new LeaseLostError('another one holds the run')
        if (lost() && crash === 'before the effect') throw new Crash(crash)
      },
      ...part,
    })
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
