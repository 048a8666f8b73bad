import { afterEach, expect, test, vi } from 'vitest'
import { Breaker, type BreakerParts } from '#mesh/breaker.ts'
import { currentScope, runInScope } from '#mesh/telemetry/scope.ts'
import { newTrace } from '#mesh/telemetry/trace-context.ts'

type Change = Parameters<BreakerParts['onChange']>[0]

let breaker: Breaker
afterEach(() => breaker.stop())

function start(probe: () => Promise<unknown>) {
  const changes: Change[] = []
  breaker = new Breaker({ probe, intervalMs: 5, onChange: (change) => changes.push(change) })
  return changes
}

test('it closes by itself once a probe succeeds, and says each change once', async () => {
  let [away, probes] = [true, 0]
  const changes = start(async () => {
    probes += 1
    if (away) throw new Error('away')
  })
  expect(breaker.closed).toBe(true)
  breaker.open('first')
  breaker.open('second')
  expect(breaker.closed).toBe(false)
  await vi.waitFor(() => expect(probes).toBeGreaterThan(2))
  expect(changes).toEqual([{ closed: false, reason: 'first' }])
  away = false
  await vi.waitFor(() => expect(breaker.closed).toBe(true))
  expect(changes).toEqual([
    { closed: false, reason: 'first' },
    { closed: true, unavailableMs: expect.any(Number) },
  ])
})

test('its probes belong to no request, though one opened it', async () => {
  const scopes: unknown[] = []
  let heard: unknown = 'nothing yet'
  breaker = new Breaker({
    probe: async () => void scopes.push(currentScope()),
    intervalMs: 5,
    onChange: ({ closed }) => (heard = closed ? currentScope() : heard),
  })
  runInScope({ work: { requestId: 'r-1' }, trace: newTrace(true) }, () => breaker.open('silent'))
  await vi.waitFor(() => expect(breaker.closed).toBe(true))
  expect([scopes, heard]).toEqual([[undefined], undefined])
})

test('there is one probe at a time, however long it takes', async () => {
  let [running, max, ended] = [0, 0, 0]
  start(async () => {
    running += 1
    max = Math.max(max, running)
    await new Promise((resolve) => setTimeout(resolve, 15))
    running -= 1
    ended += 1
    throw new Error('away')
  })
  breaker.open('silent')
  breaker.open('silent')
  await vi.waitFor(() => expect(ended).toBeGreaterThan(3))
  expect(max).toBe(1)
})

test('a stopped breaker probes no more and opens no more', async () => {
  let probes = 0
  const changes = start(async () => {
    probes += 1
    throw new Error('away')
  })
  breaker.open('silent')
  await vi.waitFor(() => expect(probes).toBeGreaterThan(1))
  breaker.stop()
  const until = probes
  const other = new Breaker({ probe: async () => {}, intervalMs: 5, onChange: (change) => changes.push(change) })
  other.stop()
  other.open('late')
  expect(other.closed).toBe(true)
  expect(changes).toHaveLength(1)
  // A probe of the same period, started later, has passed: a stopped one would have been before it.
  const clock = new Breaker({ probe: async () => {}, intervalMs: 20, onChange: () => {} })
  clock.open('to wait for')
  await vi.waitFor(() => expect(clock.closed).toBe(true))
  expect(probes).toBe(until)
})
