import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { ExpositionError, type Series, parseExposition } from '../../gate/exposition.ts'

const name = fc.stringMatching(/^[a-zA-Z_:][a-zA-Z0-9_:]{0,20}$/)
const labelName = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,10}$/)
const value = fc.double({ noNaN: false })
const series: fc.Arbitrary<Series> = fc.record({ name, labels: fc.dictionary(labelName, fc.string()), value })

const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
const valueText = (number: number) => {
  if (Object.is(number, -0)) return '-0'
  return String(number).replace('-Infinity', '-Inf').replace('Infinity', '+Inf')
}
const written = ({ name, labels, value }: Series, exemplar: string) => {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`)
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${valueText(value)}${exemplar}`
}

test('whatever is written in the format is read as it was meant, with exemplars and times passed over', () => {
  const tail = fc.constantFrom('', ' 1700000000000', ' # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.043 1700000000.5')
  fc.assert(
    fc.property(fc.array(fc.tuple(series, tail)), (all) => {
      const text = ['# HELP a b', '# TYPE a counter', ...all.map(([each, end]) => written(each, end)), '# EOF', ''].join('\n')
      expect(parseExposition(text)).toEqual(all.map(([each]) => ({ ...each, labels: { ...each.labels } })))
    }),
  )
})

test('any text at all is either read or refused, quickly', () => {
  const line = fc.oneof(fc.string(), fc.stringMatching(/^[a-z{}="\\, #0-9]{0,60}$/))
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      try {
        for (const { name } of parseExposition(lines.join('\n'))) expect(name).toMatch(/^[a-zA-Z_:]/)
      } catch (error) {
        expect(error).toBeInstanceOf(ExpositionError)
      }
    }),
  )
})

const labels = ['metric{a="1"', 'metric{a=1} 1', 'metric{a="1" b="2"} 1', 'metric{a="1",a="2"} 1']
const values = ['metric', 'metric ', 'metric one', '9metric 1', 'metric 0x10', 'a 1 2 3']

test.each([...labels, ...values])('half a line is refused, not guessed: %s', (line) => {
  expect(() => parseExposition(`good 1\n${line}\n`)).toThrow('line 2')
})

test('what our own processes show is read', async () => {
  const metrics = new Metrics('gateway')
  metrics.counter('http_requests_total', 'Requests', ['endpoint']).inc({ endpoint: '/actions/runs/{run_id}' }, 3)
  const read = parseExposition(await metrics.registry.metrics())
  expect(read).toContainEqual({ name: 'http_requests_total', labels: { endpoint: '/actions/runs/{run_id}', service: 'gateway' }, value: 3 })
  for (const needed of ['process_resident_memory_bytes', 'process_cpu_seconds_total', 'process_start_time_seconds']) {
    expect(read.find(({ name }) => name === needed)?.value, needed).toBeGreaterThan(0)
  }
})
