/** The text format with exemplars, and who gets it. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Family, openMetrics, wantsOpenMetrics } from '#mesh/telemetry/open-metrics.ts'
import { parseExposition } from '../../../gate/exposition.ts'

test('a document is written as the specification has it, byte for byte', () => {
  const families: Family[] = [
    { name: 'things_total', help: 'Things', type: 'counter', samples: [{ name: 'things_total', labels: { kind: 'good' }, value: 3 }] },
    { name: 'nothing_total', help: 'None yet', type: 'counter', samples: [] },
    {
      name: 'limits',
      help: 'Odd "values"',
      type: 'gauge',
      samples: [Infinity, -Infinity, Number.NaN, 1e-7].map((value, index) => ({ name: 'limits', labels: { n: index }, value })),
    },
    {
      name: 'took_seconds',
      help: 'Time\nwith \\ in it',
      type: 'histogram',
      samples: [
        { name: 'took_seconds_bucket', labels: { le: 0.05 }, value: 1, exemplar: { traceId: 'ab12', value: 0.049, at: 1763800000.25 } },
        { name: 'took_seconds_bucket', labels: { le: 1 }, value: 1 },
        { name: 'took_seconds_bucket', labels: { le: '+Inf' }, value: 1 },
        { name: 'took_seconds_sum', labels: {}, value: 0.049 },
        { name: 'took_seconds_count', labels: {}, value: 1 },
      ],
    },
  ]
  expect(openMetrics(families)).toBe(String.raw`# TYPE things counter
# HELP things Things
things_total{kind="good"} 3
# TYPE nothing counter
# HELP nothing None yet
# TYPE limits gauge
# HELP limits Odd \"values\"
limits{n="0"} +Inf
limits{n="1"} -Inf
limits{n="2"} NaN
limits{n="3"} 1e-7
# TYPE took_seconds histogram
# HELP took_seconds Time\nwith \\ in it
took_seconds_bucket{le="0.05"} 1 # {trace_id="ab12"} 0.049 1763800000.250
took_seconds_bucket{le="1.0"} 1
took_seconds_bucket{le="+Inf"} 1
took_seconds_sum{} 0.049
took_seconds_count{} 1
# EOF
`)
})

test('a counter that is not called _total is not written', () => {
  expect(() => openMetrics([{ name: 'things', help: 'Things', type: 'counter', samples: [] }])).toThrow('things_total')
})

test('whatever a label or a help text holds, it stays in its place', () => {
  const characters = ['\\', '"', '\n', 'n', '\r', '\t', '\0', '{', '}', ',', '=', '#', ' ', '1', 'ü', '\u2028', '😀', '\ud800']
  const hostile = fc.string({ unit: fc.constantFrom(...characters) })
  const labels = fc.dictionary(fc.stringMatching(/^[a-km-z_][a-z_]{0,8}$/), hostile, { noNullPrototype: true, maxKeys: 4 })
  fc.assert(
    fc.property(labels, hostile, (given, help) => {
      const text = openMetrics([{ name: 'x', help, type: 'gauge', samples: [{ name: 'x', labels: given, value: 1 }] }])
      expect(text.split('\n')).toHaveLength(5)
      expect(parseExposition(text)).toEqual([{ name: 'x', labels: given, value: 1 }])
    }),
  )
})

describe('who gets it', () => {
  const [prometheus2, prometheus3] = [
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
    'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,' +
      'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
  ]
  test.each([
    prometheus2,
    prometheus3,
    'application/openmetrics-text',
    'Application/OpenMetrics-Text; Version="1.0.0"; charset=utf-8',
    'application/openmetrics-text;q=0.5, */*;q=0.5',
    'text/*;q=0.1, application/openmetrics-text;q=0.2',
  ])('%j asks for it', (accept) => {
    expect(wantsOpenMetrics(accept)).toBe(true)
  })

  test.each([
    undefined,
    '',
    '*/*',
    'text/plain',
    'text/html,application/xhtml+xml,*/*;q=0.8',
    'application/openmetrics-text;q=0',
    'application/openmetrics-text;q=0, */*',
    'application/openmetrics-text;q=-1',
    'application/openmetrics-text;q=2',
    'application/openmetrics-text;q=x',
    'application/openmetrics-text;version=2.0.0',
    'application/openmetrics-text;version=0.0.1',
    'text/plain, application/openmetrics-text;q=0.9',
    'application/openmetrics-textual',
  ])('%j does not', (accept) => {
    expect(wantsOpenMetrics(accept)).toBe(false)
  })

  test('whatever else stands around it, it must be named, and once it is, with all its weight, nothing takes it away', () => {
    const pieces = fc.constantFrom('text/plain', '*/*', ';', ',', 'q=', '0.5', 'version=', '1.0.0', '"', '=', ' ', 'application/')
    const noise = fc.array(fc.oneof(pieces, fc.string())).map((parts) => parts.join(''))
    fc.assert(
      fc.property(noise, (text) => {
        expect(wantsOpenMetrics(text)).toBe(false)
        expect(wantsOpenMetrics(`${text},application/openmetrics-text`)).toBe(true)
      }),
    )
  })
})
