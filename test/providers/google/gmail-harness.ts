/** A Gmail adapter before a fake Gmail, and runs that stand as the store keeps them: a run can end in the middle and be taken over. */
import { randomUUID } from 'node:crypto'
import { afterEach, expect } from 'vitest'
import { ownContext } from '#mesh/grpc/call.ts'
import type { Outcome, RunHandle } from '../../../services/actions/adapter.ts'
import { googleMailAdapter, googleMailReasons } from '../../../providers/google/gmail-send-email.ts'
import type { Mail } from '../../../services/actions/adapters/mail.ts'
import type { Connections } from '../../../services/actions/connections.ts'
import { type Gmail, startGmail } from '../../fakes/gmail.ts'

/** Thrown where a test kills the process: nothing after it happens. */
export class KilledError extends Error {}

/** The oauth service: gives the next token once one was refused. */
export class TokenSource implements Connections {
  readonly refused: (string | undefined)[] = []
  tokens: string[] = ['good-token']
  scopesOf: (token: string) => readonly string[]
  failure: Error | undefined

  constructor(scopesOf: (token: string) => readonly string[]) {
    this.scopesOf = scopesOf
  }

  async find() {
    return { configured: true as const, connection: undefined, authorizePath: '/oauth/google/authorize' }
  }

  async token(_owned: unknown, _context: unknown, refused?: string) {
    if (this.failure !== undefined) throw this.failure
    if (refused !== undefined) {
      this.refused.push(refused)
      this.tokens = this.tokens.filter((each) => each !== refused)
    }
    const accessToken = this.tokens[0] ?? 'no-good-token'
    return { accessToken, scopes: this.scopesOf(accessToken) }
  }
}

export interface MailStage {
  gmail: Gmail
  source: TokenSource
  adapter: ReturnType<typeof googleMailAdapter>
  /** A run as the store keeps it: its recovery point outlives who holds it. */
  run(): StoredRun
}

export class StoredRun {
  readonly runId = randomUUID()
  recovery: Record<string, unknown> | undefined
  attempt = 0
  readonly stop = new AbortController()
  /** Called before the point is kept, and after. */
  onRecord: (when: 'before' | 'after') => void = () => undefined
  onHeld: () => void = () => undefined

  /** As the next holder sees it. */
  handle(): RunHandle {
    this.attempt += 1
    const signal = this.stop.signal
    return {
      runId: this.runId,
      workspace: 'acme',
      actor: 'ada',
      connectionId: 'b7a1e6a0-0000-4000-8000-000000000001',
      context: { ...ownContext(), signal },
      signal,
      recovery: this.recovery,
      recordedAgoMs: undefined,
      attempt: this.attempt,
      record: async (point) => {
        this.onRecord('before')
        // As the database keeps it: as JSON.
        this.recovery = JSON.parse(JSON.stringify(point)) as Record<string, unknown>
        this.onRecord('after')
      },
      assertHeld: async () => this.onHeld(),
    }
  }
}

const open = new Set<Gmail>()
afterEach(async () => {
  for (const each of open) await each.close()
  open.clear()
})

export async function mailStage(): Promise<MailStage> {
  const gmail = await startGmail()
  open.add(gmail)
  const source = new TokenSource((token) => gmail.tokens.get(token) ?? [])
  const adapter = googleMailAdapter({ connections: source, baseUrl: gmail.url, timeoutMs: 2_000, retryMs: 1, settleMs: 1 })
  return { gmail, source, adapter, run: () => new StoredRun() }
}

export const mail: Mail = {
  from: { address: 'ada@example.com' },
  to: [{ address: 'bob@example.com', name: 'Bob' }],
  subject: 'Grüße',
  text: 'Hello Bob',
}

/** Of the adapter's closed set. */
export function reasonOf(outcome: Outcome): string {
  if (outcome.status === 'success') return 'success'
  expect(googleMailReasons).toContain(outcome.error.reason)
  return outcome.error.reason
}
