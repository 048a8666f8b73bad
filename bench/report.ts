/** Results → text for a terminal. Pure. Every figure is the median of the repetitions, with the minimum and maximum in parentheses. */
import type { ComparedFigures, ExecuteFigures, Resident, TracingFigures } from './parts.ts'
import type { Sample } from './sample.ts'
import { spread } from '../measure/statistics.ts'

/** The targets. */
export const targets = {
  listRatio: 0.6,
  executeP50Ms: 15,
  executeP99Ms: 50,
  rssMb: 120,
  accessRatio: 1.15,
  hopUs: 20,
  tracedRatio: 0.75,
  sampledRatio: 0.8,
  tracedRssMb: 150,
} as const

const number = (value: number): string =>
  value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 2 : value < 100 ? 1 : 0, minimumFractionDigits: value < 10 ? 2 : 0 })

function figure(values: readonly number[]): string {
  const { median, min, max } = spread(values)
  return `${number(median)} (${number(min)}–${number(max)})`
}

const mark = (reached: boolean, target: string): string => `${reached ? '✓' : '✗'} ${target}`

/** Columns padded to their widest cell; the first row is the head. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]) => `  ${row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ')}`.trimEnd()
  return [line(rows[0]!), `  ${widths.map((width) => '-'.repeat(width)).join('  ')}`, ...rows.slice(1).map(line)].join('\n')
}

export function listReport(results: readonly ComparedFigures[]): string {
  const rows = results.flatMap(({ concurrency, base, ours }) => {
    const row = (name: string, of: (sample: Sample) => number, target?: number): string[] => {
      const ratios = ours.map((sample, index) => of(sample) / of(base[index]!))
      const reached = target === undefined ? '' : mark(spread(ratios).median >= target, `≥ ${target}`)
      return [`c=${concurrency}`, name, figure(base.map(of)), figure(ours.map(of)), figure(ratios), reached]
    }
    return [
      row('requests/s', ({ perSecond }) => perSecond, targets.listRatio),
      row('P50 ms', ({ p50 }) => p50.list!),
      row('P99 ms', ({ p99 }) => p99.list!),
      row('CPU µs/request', ({ cpuUs }) => cpuUs),
    ]
  })
  const samples = results.flatMap(({ ours }) => ours)
  return [
    `List: GET /actions, ${samples[0]!.bytes} bytes; ratios are ours to the baseline's of the same repetition`,
    table([['', '', 'baseline', 'ours', 'ratio', 'target'], ...rows]),
    ...results.map(({ concurrency, base, ours }) => `  CPU µs/request at c=${concurrency}: ${breakdown(base)} | ${breakdown(ours)}`),
    others(results.flatMap(({ base, ours }) => [...base, ...ours])),
  ].join('\n')
}

/** The gateway with access beside the one without; `hop` is the cost of authentication in a service. */
export function accessReport(results: readonly ComparedFigures[], hop: { firstUs: number; cachedUs: number }): string {
  const cpu = ({ cpuUsBy }: Sample) => cpuUsBy.gateway!
  const rows = results.map(({ concurrency, base, ours }) => {
    const ratios = ours.map((sample, index) => cpu(sample) / cpu(base[index]!))
    const reached = mark(spread(ratios).median <= targets.accessRatio, `≤ ${targets.accessRatio}`)
    return [`c=${concurrency}`, figure(base.map(cpu)), figure(ours.map(cpu)), figure(ratios), reached]
  })
  return [
    'Access: CPU µs of the gateway a request, listing; the ratio is to a gateway that lets everybody in as the same caller',
    table([['', 'without', 'with', 'ratio', 'target'], ...rows]),
    `  a hop: ${number(hop.cachedUs)} µs to know peer and caller whose tokens were seen before  ${mark(hop.cachedUs <= targets.hopUs, `≤ ${targets.hopUs}`)}`,
    `  (${number(hop.firstUs)} µs at first sight, in a cold process)`,
    others(results.flatMap(({ base, ours }) => [...base, ...ours])),
  ].join('\n')
}

/** `fsyncMs` is the disk's time for one durable write. */
export function executeReport(results: readonly ExecuteFigures[], fsyncMs: number): string {
  const rows = results.flatMap(({ concurrency, samples }) => {
    const row = (name: string, of: (sample: Sample) => number, target?: number): string[] => {
      const values = samples.map(of)
      // The targets are for a single caller.
      const reached = target === undefined || concurrency > 1 ? '' : mark(spread(values).median <= target, `≤ ${target}`)
      return [`c=${concurrency}`, name, figure(values), reached]
    }
    return [
      row('executes/s', ({ perSecond }) => perSecond),
      row('execute P50 ms', ({ p50 }) => p50.execute!, targets.executeP50Ms),
      row('execute P99 ms', ({ p99 }) => p99.execute!, targets.executeP99Ms),
      row('preview P50 ms', ({ p50 }) => p50.preview!),
      row('preview P99 ms', ({ p99 }) => p99.preview!),
      row('CPU µs/preview + execute', ({ cpuUs }) => cpuUs),
    ]
  })
  return [
    `Execute: each preview followed by its execute, to a local receiver; every write durable (an fdatasync takes ${number(fsyncMs)} ms)`,
    table([['', '', 'ours', 'target'], ...rows]),
    ...results.map(({ concurrency, samples }) => `  CPU µs/preview + execute at c=${concurrency}: ${breakdown(samples)}`),
    others(results.flatMap(({ samples }) => samples)),
  ].join('\n')
}

export function rssReport(resident: Resident): string {
  return ['Memory: fresh processes after 1,000 requests and a rest (VmRSS)', memory(resident, targets.rssMb)].join('\n')
}

function memory(resident: Resident, target: number): string {
  const rows = Object.entries(resident).map(([name, bytes]) => {
    const mb = bytes / 1e6
    return [name, number(mb), name.startsWith('baseline') ? '' : mark(mb <= target, `≤ ${target}`)]
  })
  return table([['', 'MB', 'target'], ...rows])
}

export function tracingReport({ resident, all, some }: TracingFigures): string {
  const rowsOf = (share: string, results: readonly ComparedFigures[], target: number): string[][] =>
    results.flatMap(({ concurrency, base, ours }) => {
      const row = (name: string, of: (sample: Sample) => number): string[] => {
        const ratios = ours.map((sample, index) => of(sample) / of(base[index]!))
        const reached = name === 'requests/s' ? mark(spread(ratios).median >= target, `≥ ${target}`) : ''
        return [`${share}, c=${concurrency}`, name, figure(base.map(of)), figure(ours.map(of)), figure(ratios), reached]
      }
      return [row('requests/s', ({ perSecond }) => perSecond), row('CPU µs/request', ({ cpuUs }) => cpuUs)]
    })
  return [
    'Tracing: listing through gateways that record every request, or a hundredth, beside one that records none',
    table([
      ['recorded', '', 'none', 'this share', 'ratio', 'target'],
      ...rowsOf('100 %', all, targets.tracedRatio),
      ...rowsOf('1 %', some, targets.sampledRatio),
    ]),
    others([...all, ...some].flatMap(({ base, ours }) => [...base, ...ours])),
    'Memory with every request recorded, after 1,000 requests and a rest (VmRSS)',
    memory(resident, targets.tracedRssMb),
  ].join('\n')
}

const breakdown = (samples: readonly Sample[]): string =>
  Object.keys(samples[0]!.cpuUsBy)
    .map((name) => `${name} ${number(spread(samples.map(({ cpuUsBy }) => cpuUsBy[name]!)).median)}`)
    .join(', ')

function others(samples: readonly Sample[]): string {
  const client = spread(samples.map(({ clientUs }) => clientUs)).median
  const { median, max } = spread(samples.map(({ elsewhere }) => elsewhere * 100))
  return `  load generator: ${number(client)} µs a round; others on this machine: ${number(median)} % of it (at most ${number(max)} %)`
}
