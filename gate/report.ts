/** Verdicts → text for a terminal and JSON for programs. Pure. */
import { percentile } from '../measure/statistics.ts'
import { type Baseline, cpuUsPerRequest } from './baseline.ts'
import type { GateRun, Progress } from './gate.ts'
import { type CriterionResult, type Verdict, overall } from './criteria.ts'
import { type MeasuredResponse, latencies } from './measurements.ts'
import { light } from './workload.ts'

const marks: Record<Verdict, string> = { pass: '✓ pass', fail: '✗ FAIL', unknown: '? not judged', skipped: '- skipped' }

const sentences = {
  pass: 'PASS: it holds to everything.',
  fail: 'FAIL: do not release it.',
  unknown: 'NOT JUDGED: nothing failed, but not everything could be judged, which is not a pass.',
}

/** External text goes to a terminal only without control characters. */
// oxlint-disable-next-line eslint/no-control-regex
const plain = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')

export function table(results: readonly CriterionResult[]): string {
  const cells = results.map(({ criterion, limit, verdict, measured }) => [criterion, limit, marks[verdict], plain(measured)])
  const rows = [['criterion', 'limit', 'verdict', 'measured'], ...cells]
  const widths = rows[0]!.map((_, column) => (column === 3 ? 9 : Math.max(...rows.map((row) => row[column]!.length))))
  const line = (row: readonly string[]) => `  ${row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ')}`.trimEnd()
  return [line(rows[0]!), `  ${widths.map((width) => '-'.repeat(width)).join('  ')}`, ...rows.slice(1).map(line)].join('\n')
}

/** The end of the report: the table, unexpected responses, and the verdict. */
export function report(results: readonly CriterionResult[], unexpectedResponses: GateRun['unexpectedResponses']): string {
  const wrong = Object.entries(unexpectedResponses).sort(([, a], [, b]) => b - a)
  const lines = wrong.slice(0, 10).map(([unexpectedResponse, count]) => `  ${count} × ${plain(unexpectedResponse)}`)
  const told = lines.length === 0 ? [] : ['', 'What was not answered as it should be:', ...lines]
  return [table(results), ...told, '', sentences[overall(results)]].join('\n')
}

export function progressLine({ elapsedMs, answers: responses }: Progress, runMs: number): string {
  const p = (wanted: (response: MeasuredResponse) => boolean, share: number) => {
    const values = latencies(responses, wanted)
    return values.length === 0 ? '-' : `${percentile(values, share).toFixed(0)} ms`
  }
  const bad = responses.filter(({ outcome }) => outcome !== 'ok').length
  const lightP99 = p(({ kind }) => light.has(kind), 0.99)
  const webhookP95 = p(({ kind }) => kind === 'execute', 0.95)
  const [done, all] = [elapsedMs, runMs].map((ms) => Math.round(ms / 1000))
  return `  ${done} of ${all} s: ${responses.length} answers, ${bad} not as they should be; light P99 ${lightP99}, webhook P95 ${webhookP95}`
}

export interface ReportHeader {
  /** RFC 3339. */
  at: string
  gateway: string
  baseline: Baseline | null
}

export interface Result extends ReportHeader {
  verdict: 'pass' | 'fail' | 'unknown'
  criteria: readonly CriterionResult[]
  /** The data behind it, for diagnosis. */
  evidence: Record<string, unknown>
}

/** For programs: the verdict, each criterion, and the data behind them. */
export function result(results: readonly CriterionResult[], { measurements, unexpectedResponses }: GateRun, about: ReportHeader): Result {
  const { runMs, ratePerSecond, answers: responses, starved, lateP99Ms, deliveryReport, refusals, replays, mesh } = measurements
  const outcomes: Record<string, Record<string, number>> = {}
  for (const { kind, outcome } of responses) {
    const of = (outcomes[kind] ??= {})
    of[outcome] = (of[outcome] ?? 0) + 1
  }
  return {
    verdict: overall(results),
    criteria: results,
    ...about,
    evidence: {
      run: { seconds: runMs / 1000, ratePerSecond, starved, lateP99Ms },
      answers: outcomes,
      troubles: unexpectedResponses,
      deliveries: deliveryReport,
      refusals,
      replays,
      processes: mesh.processes,
      cpuUsPerRequest: cpuUsPerRequest(measurements) ?? null,
    },
  }
}
