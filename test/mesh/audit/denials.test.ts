import { Writable } from 'node:stream'
import { pino } from 'pino'
import { beforeEach, describe, expect, test } from 'vitest'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { type Denial, Denials, others } from '#mesh/audit/denials.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { FakeLog, principal } from './events.ts'

const minute = 60_000
let now: number
let audit: FakeLog
let lines: Record<string, unknown>[]
let denials: Denials
const log = pino({}, new Writable({ write: (line, _, done) => (lines.push(JSON.parse(String(line))), done()) }))
const open = (parts: { max?: number } = {}) =>
  new Denials({ service: 'gateway', append: audit.append, log, metrics: new Metrics('test'), now: () => now, ...parts })

beforeEach(() => {
  now = Date.UTC(2030, 0, 1, 12, 0, 10)
  audit = new FakeLog()
  lines = []
  denials = open()
})

const refusal = (over: Partial<Denial> = {}): Denial => ({
  ...principal,
  action: 'permission.refused',
  reason: 'PERMISSION_DENIED',
  ...over,
})
const unknown = (source: string) =>
  refusal({ workspace: '', actor: '', keyId: '', source, action: 'sign_in.refused', reason: 'UNAUTHENTICATED' })
const told = () => [...audit.taken.values()]
const total = (events: readonly AuditEvent[]) => events.reduce((sum, { count }) => sum + count, 0)

describe('denials', () => {
  test('of one kind from one source within a minute are one event with their count', async () => {
    for (let index = 0; index < 10_000; index += 1) {
      now += 4
      denials.note(unknown('192.0.2.66'))
    }
    now += minute
    await denials.flush()
    expect(told()).toEqual([
      expect.objectContaining({
        service: 'gateway',
        action: 'sign_in.refused',
        outcome: 'refused',
        reason: 'UNAUTHENTICATED',
        source: '192.0.2.66',
        count: 10_000,
        occurredAt: '2030-01-01T12:00:10.004Z',
      }),
    ])
  })

  test('from one IPv6 network are one event, which names the network if several of its addresses came', async () => {
    for (let host = 1; host <= 5000; host += 1) denials.note(unknown(`2001:db8:1:2::${host.toString(16)}`))
    for (let count = 0; count < 3; count += 1) denials.note(unknown('2001:db8:1:3::7'))
    now += minute
    await denials.flush()
    expect(told().map(({ source, count }) => [source, count])).toEqual([
      ['2001:db8:1:2::', 5000],
      ['2001:db8:1:3::7', 3],
    ])
  })

  test('of authentication add a limited number of rows with a source per hour, however many networks and minutes; all are counted', async () => {
    let noted = 0
    const flood = async (minutes: number) => {
      for (let passed = 0; passed < minutes; passed += 1) {
        for (let index = 0; index < 500; index += 1, noted += 1) denials.note(unknown(`10.${index >> 8}.${index & 255}.${noted % 200}`))
        now += minute
        await denials.flush()
      }
    }
    await flood(60)
    const named = () => told().filter(({ source }) => source !== others).length
    expect(named()).toBeGreaterThanOrEqual(200)
    expect(named()).toBeLessThanOrEqual(400)
    expect(told().length).toBeLessThanOrEqual(460)
    expect(total(told())).toBe(noted)
    // Whose key it is, is still told.
    denials.note(refusal({ action: 'sign_in.refused', reason: 'KEY_REVOKED', source: '198.51.100.1' }))
    now += minute
    await denials.flush()
    expect(told().at(-1)).toMatchObject({ workspace: principal.workspace, keyId: principal.keyId, reason: 'KEY_REVOKED' })
  })

  test.each([
    ['workspace', { workspace: 'other' }],
    ['actor', { actor: 'peer:ratelimit' }],
    ['key', { keyId: 'another' }],
    ['source', { source: '2001:db8::1' }],
    ['action', { action: 'sign_in.refused' }],
    ['reason', { reason: 'SCOPE_TOO_WIDE' }],
  ] as const)('that differ in their %s are told apart', async (_, over) => {
    denials.note(refusal())
    denials.note(refusal(over))
    denials.note(refusal())
    now += minute
    await denials.flush()
    expect(told().map(({ count }) => count)).toEqual([2, 1])
    expect(told()[1]).toMatchObject(over)
  })

  test('carry the request id and the trace of the first', async () => {
    for (const requestId of ['first', 'second']) denials.note(refusal({ requestId, traceId: requestId }))
    now += minute
    await denials.flush()
    expect(told()).toEqual([expect.objectContaining({ requestId: 'first', traceId: 'first', count: 2 })])
  })

  test('are sent when their minute is over and not before, each minute in its own event', async () => {
    denials.note(refusal())
    await denials.flush()
    expect(told()).toEqual([])
    now += minute
    denials.note(refusal())
    await denials.flush()
    expect(told().map(({ count }) => count)).toEqual([1])
    now += minute
    await denials.flush()
    expect(told().map(({ count }) => count)).toEqual([1, 1])
  })

  test('from more sources than the limit are counted together, and all of them count', async () => {
    denials = open({ max: 100 })
    for (let index = 0; index < 5000; index += 1) denials.note(unknown(`198.51.100.${index}`))
    // Those that are known already still count for themselves.
    denials.note(unknown('198.51.100.7'))
    now += minute
    await denials.flush()
    expect(told()).toHaveLength(101)
    expect(total(told())).toBe(5001)
    expect(told().find(({ source }) => source === '198.51.100.7')).toMatchObject({ count: 2 })
    expect(told().find(({ source }) => source === others)).toMatchObject({ count: 4900 })
  })

  test('of more callers than the limit stay within it too', async () => {
    denials = open({ max: 100 })
    for (let index = 0; index < 5000; index += 1) denials.note(refusal({ actor: `a${index}`, keyId: `k${index}`, source: `s${index}` }))
    now += minute
    await denials.flush()
    expect(told().length).toBeLessThanOrEqual(201)
    expect(total(told())).toBe(5000)
    expect(told().at(-1)).toMatchObject({ workspace: '', actor: '', keyId: '', source: others, count: 4800 })
  })

  test('are kept while the log is unavailable, for as long as it takes, within the limit; none is lost or sent twice', async () => {
    denials = open({ max: 50 })
    audit.away = true
    let noted = 0
    for (let passed = 0; passed < 60; passed += 1) {
      for (let index = 0; index < 200; index += 1, noted += 1) denials.note(unknown(`192.0.2.${index}`))
      now += minute
      await expect(denials.flush()).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    }
    audit.away = false
    await denials.flush()
    // What went on counting meanwhile is a minute of its own.
    now += minute
    await denials.flush()
    expect(total(told())).toBe(noted)
    expect(new Set(audit.came).size).toBe(audit.came.length)
    expect(told().length).toBeLessThanOrEqual(4 * 50)
  })

  test('that the log accepted although its response was lost are sent again under the same ids', async () => {
    const { append } = audit
    let lost = true
    denials = new Denials({
      service: 'gateway',
      log,
      metrics: new Metrics('test'),
      now: () => now,
      async append(events) {
        await append(events)
        if (lost) throw new Error('the answer was lost')
      },
    })
    denials.note(refusal())
    now += minute
    await expect(denials.flush()).rejects.toThrow('the answer was lost')
    lost = false
    denials.note(refusal())
    await denials.flush()
    expect(audit.came).toHaveLength(2)
    expect(told()).toEqual([expect.objectContaining({ count: 1 })])
  })

  test('that the log rejects as invalid do not block the others', async () => {
    denials.note(refusal({ action: 'NOT an action' as 'sign_in.refused' }))
    denials.note(refusal())
    now += minute
    await denials.flush()
    expect(told()).toEqual([expect.objectContaining({ action: 'permission.refused' })])
    expect(lines).toEqual([expect.objectContaining({ level: 50, count: 1, reason: 'PERMISSION_DENIED' })])
  })

  test('of the current minute are sent on stop', async () => {
    denials.start()
    denials.note(refusal())
    await denials.stop()
    expect(told()).toEqual([expect.objectContaining({ count: 1 })])
  })

  test('do not keep a process from stopping if the log is unavailable or silent; the loss is logged', async () => {
    audit.away = true
    denials.note(refusal())
    await denials.stop()
    const silent = new Denials({
      service: 'gateway',
      log,
      metrics: new Metrics('test'),
      append: () => new Promise(() => undefined),
    })
    silent.note(refusal())
    await silent.stop()
    expect(lines).toEqual([expect.objectContaining({ level: 40, events: 1 }), expect.objectContaining({ level: 40, events: 1 })])
  })
})
