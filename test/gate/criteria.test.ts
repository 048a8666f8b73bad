import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type BaselineOption, type CriterionResult, judge, overall } from '../../gate/criteria.ts'
import type { Measurements } from '../../gate/measurements.ts'
import type { ProcessMetrics } from '../../gate/mesh-metrics.ts'
import { allUpTo, answersOf, baseline, measured, processMetrics } from './measured.ts'

const of = (over: Partial<Measurements>, given: BaselineOption = baseline) => judge(measured(over), given)
const verdict = (results: readonly CriterionResult[], criterion: string) =>
  results.find((each) => each.criterion.startsWith(criterion))?.verdict
const mesh = measured().mesh
const seen = (...processes: ProcessMetrics[]) => ({ ...mesh, processes })
const { deliveryReport } = measured()

test('a run that is just within every limit passes', () => {
  expect(of({}).filter(({ verdict }) => verdict !== 'pass')).toEqual([])
  expect(overall(of({}))).toBe('pass')
})

describe('each limit is where it is said to be', () => {
  const light = (ms: number, slow: number) => [...answersOf('list', 1000 - slow, 1), ...answersOf('preview', slow, ms)]
  const errors = (bad: number) => [...answersOf('list', 1000 - bad, 1), ...answersOf('list', bad, 1, 'lost')]
  test.each<[string, Partial<Measurements>, Partial<Measurements>]>([
    ['errors, as', { answers: errors(10) }, { answers: errors(11) }],
    ['5xx, as', { mesh: { ...mesh, serverErrors: 10 } }, { mesh: { ...mesh, serverErrors: 11 } }],
    ['P99 of light endpoints, of', { answers: light(51, 10) }, { answers: light(51, 11) }],
    ['P99 of light endpoints, in', { mesh: { ...mesh, light: allUpTo(0.05, 600) } }, { mesh: { ...mesh, light: allUpTo(0.1, 600) } }],
    ['P95 of webhook executes', { answers: answersOf('execute', 20, 1200) }, { answers: answersOf('execute', 20, 1201) }],
    ['P95 of webhook runs', { mesh: { ...mesh, webhook: allUpTo(1.2, 20) } }, { mesh: { ...mesh, webhook: allUpTo(2.5, 20) } }],
    ['memory', {}, { mesh: seen(processMetrics(), processMetrics({ peakResident: 150e6 })) }],
    ['CPU', { mesh: seen(processMetrics({ cpuSeconds: 2.99 })) }, { mesh: seen(processMetrics({ cpuSeconds: 3 })) }],
    ['processes stay', {}, { mesh: seen(processMetrics({ missed: 1 })) }],
    ['webhooks not', {}, { deliveryReport: { ...deliveryReport, duplicates: 1, wrong: 1 } }],
    ['replays', {}, { replays: { answered: 100, other: 1 } }],
    ['what must be refused', {}, { refusals: { asked: 100, accepted: 1 } }],
  ])('%s', (criterion, good, bad) => {
    expect(verdict(of(good), criterion)).toBe('pass')
    expect(verdict(of(bad), criterion)).toBe('fail')
    expect(overall(of(bad))).toBe('fail')
  })

  test('5xx in three minutes in a row fail it; in two of them, or with one between, they do not', () => {
    const withErrorsAt = (...minutes: number[]) =>
      [
        ...answersOf('list', 5000, 1),
        ...minutes.map((at) => ({ kind: 'list' as const, outcome: 'server_error' as const, atMs: at * 60_000 - 30_000, latencyMs: 1 })),
      ].map((response, index) => (index < 5000 ? { ...response, atMs: (index * 300_000) / 5000 } : response))
    const verdictOf = (...minutes: number[]) => verdict(of({ runMs: 300_000, answers: withErrorsAt(...minutes) }), '5xx in windows')
    expect(verdictOf(2, 3)).toBe('pass')
    expect(verdictOf(1, 2, 4, 5)).toBe('pass')
    expect(verdictOf(2, 3, 4)).toBe('fail')
  })
})

describe('too little data is not a pass', () => {
  test.each<[string, Partial<Measurements>]>([
    ['the load', { starved: 100 }],
    ['the load', { answers: [...answersOf('list', 900, 1), ...answersOf('list', 100, 1, 'limited')] }],
    ['errors, as', { answers: answersOf('list', 99, 1) }],
    ['5xx, as', { mesh: { ...mesh, requests: undefined } }],
    ['5xx in windows', { answers: answersOf('list', 29, 1) }],
    ['P99 of light endpoints, of', { answers: answersOf('list', 99, 1) }],
    ['P99 of light endpoints, in', { mesh: { ...mesh, light: allUpTo(0.05, 99) } }],
    ['P95 of webhook executes', { answers: answersOf('execute', 19, 1) }],
    ['P95 of webhook runs', { mesh: { ...mesh, webhook: [] } }],
    ['memory', { mesh: { ...mesh, processes: [processMetrics(), processMetrics({ looks: 90, missed: 88 })] } }],
    ['memory', { mesh: { ...mesh, processes: [processMetrics({ peakResident: Number.NaN })] } }],
    ['CPU', { mesh: { ...mesh, requests: 99, processes: [processMetrics({ cpuSeconds: 0.1 })] } }],
    ['CPU', { mesh: { ...mesh, processes: [processMetrics(), processMetrics({ cpuSeconds: undefined })] } }],
    ['CPU', { ratePerSecond: 4 }],
    ['processes stay', { mesh: { ...mesh, processes: [] } }],
    ['webhooks not', { deliveryReport: { ...deliveryReport, succeeded: 19 } }],
    ['replays', { replays: { answered: 9, other: 0 } }],
    ['what must be refused', { refusals: { asked: 9, accepted: 0 } }],
  ])('%s (%#)', (criterion, over) => {
    expect(verdict(of(over), criterion)).toBe('unknown')
    expect(overall(of(over))).not.toBe('pass')
  })

  test('nor is a missing baseline; whoever wants none says so', () => {
    expect(overall(judge(measured(), undefined))).toBe('unknown')
    expect(overall(of({}, 'skipped'))).toBe('pass')
    expect(overall(of({}, { ...baseline, mixVersion: -1 }))).toBe('unknown')
    expect(overall([])).toBe('unknown')
  })
})

test('one bad case is a failure however few there are', () => {
  expect(verdict(of({ deliveryReport: { ...deliveryReport, succeeded: 1, duplicates: 1, wrong: 1 } }), 'webhooks not')).toBe('fail')
  expect(verdict(of({ replays: { answered: 1, other: 1 } }), 'replays')).toBe('fail')
  expect(verdict(of({ mesh: { ...mesh, processes: [processMetrics({ looks: 1, peakResident: 151e6 })] } }), 'memory')).toBe('fail')
})

test('however it went, more errors never turn a failure into anything better', () => {
  const outcome = fc.constantFrom('ok', 'server_error', 'lost', 'wrong', 'limited')
  fc.assert(
    fc.property(fc.array(outcome, { minLength: 100, maxLength: 400 }), fc.nat(399), (outcomes, at) => {
      const responses = outcomes.map((outcome, index) => ({ ...answersOf('list', 1, 1, outcome)[0]!, atMs: index * 400 }))
      const worse = responses.with(at % responses.length, { ...responses[at % responses.length]!, outcome: 'server_error' })
      for (const criterion of ['errors, as', '5xx in windows']) {
        if (verdict(of({ answers: responses }), criterion) === 'fail') expect(verdict(of({ answers: worse }), criterion)).toBe('fail')
      }
    }),
  )
})
