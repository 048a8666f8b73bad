import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatTraceparent, newTrace, parseTraceparent } from '#mesh/telemetry/trace-context.ts'

const hex = (length: number) => fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length })
const id = (length: number) => hex(length).filter((digits) => !/^0+$/.test(digits))
const trace = fc.record({ traceId: id(32), spanId: id(16), sampled: fc.boolean() })

const anything = fc.string({ unit: fc.nat(0xffff).map((unit) => String.fromCharCode(unit)) })

const good = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

describe('a traceparent', () => {
  test('says the same when it was written and read', () => {
    fc.assert(fc.property(trace, (each) => void expect(parseTraceparent(formatTraceparent(each))).toEqual(each)))
  })

  test('is read as the recommendation’s own example says', () => {
    expect(parseTraceparent(good)).toEqual({ traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', sampled: true })
  })

  test('of a later version may have more parts, of this one not', () => {
    expect(parseTraceparent(good.replace(/^00/, 'cc').concat('-what-the-future-will-be-like'))).toMatchObject({
      spanId: '00f067aa0ba902b7',
    })
    expect(parseTraceparent(`${good}-what`)).toBeUndefined()
    expect(parseTraceparent(good.replace(/^00/, 'cc').concat('.what'))).toBeUndefined()
  })

  test('takes only the sampled bit of its flags', () => {
    expect(parseTraceparent(good.replace(/01$/, 'fe'))?.sampled).toBe(false)
    expect(parseTraceparent(good.replace(/01$/, 'ff'))?.sampled).toBe(true)
  })

  test.each([
    undefined,
    '',
    good.toUpperCase(),
    good.replace(/^00/, 'ff'),
    good.replace('4bf92f3577b34da6a3ce929d0e0e4736', '0'.repeat(32)),
    good.replace('00f067aa0ba902b7', '0'.repeat(16)),
    ` ${good}`,
    `${good}\n`,
    `${good}\r\nx-evil: 1`,
    good.slice(0, -1),
    `${good},${good}`,
    '00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01',
    '-'.repeat(100_000),
    `cc-${'a'.repeat(1_000_000)}`,
  ])('that is none is refused: %#', (header) => {
    expect(parseTraceparent(header)).toBeUndefined()
  })

  test('never makes the reader throw', () => {
    fc.assert(fc.property(anything, (header) => void parseTraceparent(header)))
  })
})

test('a new trace has ids of its own that can be sent on', () => {
  const traces = Array.from({ length: 100 }, () => newTrace())
  expect(new Set(traces.flatMap(({ traceId, spanId }) => [traceId, spanId])).size).toBe(200)
  for (const each of traces) expect(parseTraceparent(formatTraceparent(each))).toEqual(each)
})
