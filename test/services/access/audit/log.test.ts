import { describe, expect, test } from 'vitest'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { meshErrors } from '#mesh/errors.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import type { Entry } from '../../../../services/access/audit/chain.ts'
import { AuditLog } from '../../../../services/access/audit/log.ts'
import { instruments } from '../../../../services/access/metrics.ts'
import { chained, eventOf, times } from './chained.ts'

/** A store that keeps what it is given for a moment, and one chain. */
function open(fail: () => boolean = () => false) {
  const rounds: (readonly AuditEvent[])[] = []
  const noted: Entry[] = []
  const taken = new Set<string>()
  const metrics = new Metrics('access')
  const log = new AuditLog({
    store: {
      async append(events) {
        rounds.push(events)
        await new Promise(setImmediate)
        if (fail()) throw meshErrors.DEPENDENCY_UNAVAILABLE()
        return chained(events.filter(({ eventId }) => !taken.has(eventId) && taken.add(eventId)))
      },
    },
    heads: { note: (entries) => void noted.push(...entries) },
    instruments: instruments(metrics),
  })
  return { log, rounds, noted, counted: () => metrics.registry.getSingleMetric('audit_events_total')!.get() }
}

describe('the audit log', () => {
  test('appends concurrent events together, and later ones after them', async () => {
    const { log, rounds } = open()
    const events = times(30, () => eventOf())
    await Promise.all(times(10, (index) => log.append(events.slice(3 * index, 3 * index + 3))))
    expect(rounds).toEqual([events])
  })

  test('takes at most 500 events in one transaction, one transaction at a time', async () => {
    const { log, rounds } = open()
    await log.append(times(1100, () => eventOf()))
    expect(rounds.map(({ length }) => length)).toEqual([500, 500, 100])
  })

  test('fails every sender if the store fails, and appends their events when they are sent again', async () => {
    let away = true
    const { log, noted } = open(() => away)
    const events = times(3, () => eventOf())
    await expect(log.append(events)).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    expect(noted).toEqual([])
    away = false
    await log.append(events)
    expect(noted.map(({ eventId }) => eventId)).toEqual(events.map(({ eventId }) => eventId))
  })

  test('reports new heads, counts events by service and outcome, and earlier ones as repeated', async () => {
    const { log, noted, counted } = open()
    const [one, two] = [eventOf(), eventOf({ service: 'access', outcome: 'refused' })]
    await log.append([one, one, two])
    await log.append([two])
    expect(noted.map(({ eventId }) => eventId)).toEqual([one.eventId, two.eventId])
    expect((await counted()).values.map(({ labels: { outcome, service: name }, value }) => [name, outcome, value])).toEqual(
      expect.arrayContaining([
        ['tester', 'success', 1],
        ['tester', 'repeated', 1],
        ['access', 'refused', 1],
        ['access', 'repeated', 1],
      ]),
    )
  })

  test('knows an id in capitals as the same', async () => {
    const { log, noted } = open()
    const event = eventOf()
    await log.append([event, { ...event, eventId: event.eventId.toUpperCase() }])
    expect(noted).toEqual([expect.objectContaining({ eventId: event.eventId })])
  })

  test.each<[string, Partial<AuditEvent>]>([
    ['event_id', { eventId: 'x' }],
    ['workspace', { workspace: 'a\0' }],
    ['workspace', { workspace: 'a'.repeat(129) }],
    ['occurred_at', { occurredAt: '2026-02-30T12:00:00.000Z' }],
    ['occurred_at', { occurredAt: '2026-01-31T12:00:00Z' }],
    ['occurred_at', { occurredAt: '1969-12-31T23:59:59.999Z' }],
    ['service', { service: 'Tester' }],
    ['action', { action: 'Send this' }],
    ['outcome', { outcome: 'odd' as never }],
    ['reason', { reason: 'because I say so' }],
    ['actor', { actor: '\uD800' }],
    ['key_id', { keyId: 'a key' }],
    ['targets', { targets: ['run'] }],
    ['targets', { targets: ['run:a b'] }],
    ['targets', { targets: times(17, () => 'run:1') }],
    ['request_id', { requestId: 'a'.repeat(65) }],
    ['trace_id', { traceId: 'XYZ' }],
    ['source', { source: '<script>' }],
    ['count', { count: 0 }],
    ['count', { count: 1.5 }],
  ])('takes none of the events where one has no such %s: %o', async (field, over) => {
    const { log, rounds } = open()
    await expect(log.append([eventOf(), eventOf(over)])).rejects.toMatchObject({
      reason: 'INVALID_REQUEST',
      violations: [expect.objectContaining({ field: `events[1].${field}` })],
    })
    expect(rounds).toEqual([])
  })
})
