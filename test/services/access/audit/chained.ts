/** Events and chains of them, made in memory. */
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import type { AuditEvent, AuditOutcome } from '#mesh/audit/event.ts'
import { Chain, type Entry, type Link, type Statement } from '../../../../services/access/audit/chain.ts'
import { type Finding, type IntactChain, verifyChain } from '../../../../services/access/audit/verify.ts'

export const secret = 'what the chains of these tests are made with'
export const chain = new Chain(secret)
export const workspace = 'acme'

export const eventOf = (over: Partial<AuditEvent> = {}): AuditEvent => ({
  eventId: randomUUID(),
  workspace,
  occurredAt: '2026-01-31T12:00:00.000Z',
  service: 'tester',
  action: 'actions.execute',
  outcome: 'success',
  reason: '',
  actor: 'ann',
  keyId: 'key-of-ann',
  targets: [`run:${randomUUID()}`],
  requestId: randomUUID(),
  traceId: '0af7651916cd43dd8448eb211c80319c',
  source: '203.0.113.9',
  count: 1,
  ...over,
})

export function chained(events: readonly AuditEvent[], after: Link = chain.origin(workspace)): Entry[] {
  const entries: Entry[] = []
  for (const event of events) entries.push(chain.next(entries.at(-1) ?? after, event, '2026-01-31T12:00:01.000Z'))
  return entries
}

export const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index))

export const longChain = (length: number): Entry[] => chained(times(length, () => eventOf()))

export const verified = (entries: readonly Entry[], checkpoints: readonly Statement[] = []): Promise<IntactChain | Finding> =>
  verifyChain(chain, workspace, { entries, checkpoints })

const time = fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }).map((date) => date.toISOString())
const id = fc.string({ unit: fc.constantFrom(...'abcXYZ0123456789-'), maxLength: 40 })

/** Whatever an event of acme may hold. */
export const anyEvent: fc.Arbitrary<AuditEvent> = fc.record({
  eventId: fc.uuid(),
  workspace: fc.constant(workspace),
  occurredAt: time,
  service: fc.constantFrom('actions', 'access', 'gateway'),
  action: fc.constantFrom('actions.execute', 'actions.preview', 'keys.create', 'sign_in.refused'),
  outcome: fc.constantFrom<AuditOutcome>('success', 'failed', 'unknown', 'refused'),
  reason: fc.constantFrom('', 'KEY_REUSED', 'UNAUTHENTICATED'),
  actor: fc.string({ unit: fc.constantFrom('a', 'é', '"', '\\', '𝄞', "'", ',', '{'), maxLength: 20 }),
  keyId: id,
  targets: fc.array(
    id.map((text) => `run:x${text}`),
    { maxLength: 4 },
  ),
  requestId: id,
  traceId: fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), maxLength: 32 }),
  source: fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant('others')),
  count: fc.integer({ min: 1, max: 0xffffffff }),
})

export const anyChain = (min: number): fc.Arbitrary<Entry[]> =>
  fc.uniqueArray(anyEvent, { minLength: min, maxLength: 20, selector: ({ eventId }) => eventId }).map((events) => chained(events))
