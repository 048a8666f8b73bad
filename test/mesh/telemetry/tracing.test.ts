import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { currentScope, runInScope } from '#mesh/telemetry/scope.ts'
import { type TraceContext, newTrace } from '#mesh/telemetry/trace-context.ts'
import { beginTrace, startServerSpan, errorType, isRecorded, isSampled } from '#mesh/telemetry/tracing.ts'
import { setTracer, startSpan, withSpan, withRootSpan } from '#mesh/telemetry/tracing.ts'
import { SpanRecorder } from '../../fakes/span-recorder.ts'

let spans: SpanRecorder
beforeEach(() => {
  spans = new SpanRecorder()
  setTracer(spans.recorder)
})
afterEach(() => setTracer(undefined))

const server = (name: string) => ({ name, kind: 'server' }) as const
const internal = (name: string) => ({ name, kind: 'internal' }) as const
const work = { requestId: 'r-1' }

describe('whether a trace is recorded', () => {
  const traceId = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'))
  const share = fc.double({ min: 0, max: 1, noNaN: true })

  test('is decided by its id alone: the same share decides the same again, and a larger one never leaves it out', () => {
    fc.assert(
      fc.property(traceId, share, share, (id, one, other) => {
        const [small, large] = one < other ? [one, other] : [other, one]
        expect(isSampled(id, small)).toBe(isSampled(id, small))
        if (isSampled(id, small)) expect(isSampled(id, large)).toBe(true)
      }),
    )
  })

  test('none at a share of 0, every one at 1', () => {
    fc.assert(
      fc.property(traceId, (id) => {
        expect([isSampled(id, 0), isSampled(id, 1)]).toEqual([false, true])
      }),
    )
  })

  test('is left to the 56 bits that are random by the specification: the rest of the id changes nothing', () => {
    fc.assert(
      fc.property(traceId, traceId, share, (id, other, of) => {
        expect(isSampled(other.slice(0, 18) + id.slice(18), of)).toBe(isSampled(id, of))
      }),
    )
  })

  test.each([0.01, 0.1, 0.5, 0.9])('of our own ids a share of %d is the share that is recorded', (of) => {
    const many = 20_000
    const sampled = Array.from({ length: many }, () => newTrace().traceId).filter((id) => isSampled(id, of)).length
    // Six standard deviations: once in half a billion runs.
    expect(Math.abs(sampled - many * of)).toBeLessThan(6 * Math.sqrt(many * of * (1 - of)))
  })

  test('at the edge of a share is exact: of all values of the bits just that many are taken', () => {
    const id = (bits: bigint) => `${'f'.repeat(18)}${bits.toString(16).padStart(14, '0')}`
    const half = 2n ** 55n
    expect([isSampled(id(half), 0.5), isSampled(id(half - 1n), 0.5)]).toEqual([true, false])
  })

  test('is decided where it begins: what goes on from there follows, at whatever share', () => {
    setTracer(spans.recorder, 0)
    const { trace, span } = beginTrace(server('GET /actions'))
    expect([trace.sampled, span, isRecorded(trace)]).toEqual([false, undefined, false])
    const followed = startServerSpan(server('in'), { ...newTrace(), sampled: true }, true)
    expect([followed.trace.sampled, followed.span !== undefined]).toEqual([true, true])
    setTracer(spans.recorder, 1)
    const left = { ...newTrace(), sampled: false }
    expect(startServerSpan(server('in'), left, true)).toEqual({ trace: left, span: undefined })
    expect(startSpan(internal('within'), trace)).toBeUndefined()
  })

  test('without a recorder is never: ids go on all the same', async () => {
    setTracer(undefined)
    const { trace, span } = beginTrace(server('GET /actions'))
    expect(span).toBeUndefined()
    const [traceId, spanId] = [expect.stringMatching(/^[0-9a-f]{32}$/), expect.stringMatching(/^[0-9a-f]{16}$/)]
    expect(trace).toEqual({ traceId, spanId, sampled: false })
    const inside = () => withSpan(internal('in'), async (found) => [found, currentScope()?.trace.spanId])
    expect(await runInScope({ work, trace: { ...trace, sampled: true } }, inside)).toEqual([undefined, trace.spanId])
  })
})

describe('what comes in', () => {
  const inbound: TraceContext = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', sampled: true }

  test('from who is believed goes on: the new span is a child of the caller’s', () => {
    const { trace } = startServerSpan(server('in'), inbound, true)
    expect(trace).toMatchObject({ traceId: inbound.traceId, sampled: true })
    expect(trace.spanId).not.toBe(inbound.spanId)
    expect(spans.named('in')).toMatchObject({ parent: inbound, trace })
  })

  test.each([true, false])('from who is not begins anew, linked to what was said (sampled there: %s)', (sampled) => {
    const said = { ...inbound, sampled }
    const { trace } = startServerSpan(server('in'), said, false)
    expect(trace.traceId).not.toBe(inbound.traceId)
    expect(spans.named('in')).toMatchObject({ parent: undefined, trace, start: { links: [said] } })
  })

  test('without a trace begins one', () => {
    const { trace } = startServerSpan(server('in'), undefined, true)
    expect(spans.named('in')).toMatchObject({ parent: undefined, trace })
    expect(spans.named('in').start.links ?? []).toEqual([])
  })
})

describe('a part of the work', () => {
  test('is a child of the part that it is done in, and what comes after it is not', async () => {
    const { trace } = beginTrace(server('request'))
    await runInScope({ work, trace }, async () => {
      await withSpan(internal('outer'), async () => {
        await withSpan(internal('inner'), async (span) => span?.set({ 'relay.run_status': 'success' }))
      })
      await withSpan(internal('next'), async () => undefined)
    })
    const parentOf = (name: string) => spans.named(name).parent?.spanId
    const outer = spans.named('outer').trace.spanId
    expect([parentOf('outer'), parentOf('inner'), parentOf('next')]).toEqual([trace.spanId, outer, trace.spanId])
    expect(spans.named('inner').attributes).toEqual({ 'relay.run_status': 'success' })
    expect(spans.kept.filter(({ start }) => start.name !== 'request').map(({ ends }) => ends)).toEqual([1, 1, 1])
  })

  test('that fails is marked by one word, ends, and fails all the same', async () => {
    const { trace } = beginTrace(server('request'))
    const refused = meshErrors.DEPENDENCY_UNAVAILABLE({ cause: new Error('password authentication failed for user "relay"') })
    const failing = runInScope({ work, trace }, () => withSpan(internal('part'), () => Promise.reject(refused)))
    await expect(failing).rejects.toBe(refused)
    expect(spans.named('part')).toMatchObject({ failed: 'DEPENDENCY_UNAVAILABLE', ends: 1 })
  })

  test('outside of any work makes no span', async () => {
    expect(await withSpan(internal('alone'), async (span) => span)).toBeUndefined()
    expect(spans.kept).toEqual([])
  })

  test('that nobody waits for is a trace of its own, also where a request set it off', async () => {
    const { trace } = beginTrace(server('request'))
    const link = newTrace(true)
    await runInScope({ work, trace }, () =>
      withRootSpan({ ...internal('reconcile run'), links: [link] }, { requestId: 'r-2', runId: 'run-2' }, async () => {
        expect(currentScope()).toMatchObject({ work: { requestId: 'r-2', runId: 'run-2' }, trace: { sampled: true } })
        await withSpan(internal('take'), async () => undefined)
      }),
    )
    const root = spans.named('reconcile run')
    expect(root).toMatchObject({ parent: undefined, start: { links: [link] }, ends: 1 })
    expect(root.trace.traceId).not.toBe(trace.traceId)
    expect(spans.named('take').parent).toEqual(root.trace)
  })
})

test('what went wrong is said by a word that cannot hold a secret', () => {
  const coded = Object.assign(new Error('connect ECONNREFUSED 10.0.0.1:5432'), { code: 'ECONNREFUSED' })
  const thrown = [meshErrors.UNAUTHENTICATED(), coded, new TypeError('bad'), 'a string that was thrown', { message: 'an object' }]
  expect(thrown.map(errorType)).toEqual(['UNAUTHENTICATED', 'ECONNREFUSED', 'TypeError', 'unknown', 'unknown'])
})
