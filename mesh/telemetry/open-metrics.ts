/**
 * OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/), the text format that has exemplars. prom-client writes it too,
 * but by a setting of the registry that renames its counters: one registry could not serve scrapers that request different formats.
 */
import type { Exemplar } from './latency-histogram.ts'

export interface Sample {
  /** The family's own name, or with a suffix: `_bucket`, `_sum`, `_count`. */
  readonly name: string
  /** By name; `le` of a bucket is a number, or the text +Inf. */
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
  readonly exemplar?: Exemplar | undefined
}

export interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly samples: readonly Sample[]
}

export const openMetricsType = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** Throws for a counter whose name does not end in `_total`: the format has no other. */
export function openMetrics(families: readonly Family[]): string {
  return [...families.map(writeFamily), '# EOF\n'].join('\n')
}

function writeFamily({ name, help, type, samples }: Family): string {
  if (type === 'counter' && !name.endsWith('_total')) throw new Error(`the counter ${name} must be called ${name}_total`)
  const family = type === 'counter' ? name.slice(0, -'_total'.length) : name
  return [`# TYPE ${family} ${type}`, `# HELP ${family} ${escaped(help)}`, ...samples.map(writeSample)].join('\n')
}

function writeSample({ name, labels, value, exemplar }: Sample): string {
  const line = `${name}${writeLabels(labels)} ${number(value)}`
  if (exemplar === undefined) return line
  return `${line} # ${writeLabels({ trace_id: exemplar.traceId })} ${number(exemplar.value)} ${exemplar.at.toFixed(3)}`
}

function writeLabels(labels: Sample['labels']): string {
  const written = Object.entries(labels).map(([name, value]) => `${name}="${name === 'le' ? bound(value) : escaped(String(value))}"`)
  return `{${written.join(',')}}`
}

/** Bounds of buckets are labels, so they need one spelling: integers as 1.0. */
const bound = (value: string | number): string => (Number.isInteger(value) ? `${value}.0` : String(value))

const number = (value: number): string => (Math.abs(value) === Infinity ? `${value < 0 ? '-' : '+'}Inf` : String(value))

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')

/**
 * Whether a scraper wants it, by its Accept header (RFC 9110, 12.5.1): it must be named, in this version, and text/plain must not be
 * preferred. Without a preference the older format is sent, which every scraper reads.
 */
export function wantsOpenMetrics(accept: string | undefined): boolean {
  const ranges = (accept ?? '').toLowerCase().split(',').map(parseRange)
  const max = (...types: string[]): number | undefined => {
    const found = ranges.filter(({ type }) => types.includes(type))
    return found.length === 0 ? undefined : Math.max(...found.map(({ weight }) => weight))
  }
  const wanted = max('application/openmetrics-text') ?? 0
  return wanted > 0 && wanted >= (max('text/plain') ?? max('text/*') ?? max('*/*') ?? 0)
}

function parseRange(range: string): { type: string; weight: number } {
  const [type = '', ...parameters] = range.split(';').map((part) => part.trim())
  const parameter = (name: string) =>
    parameters
      .find((each) => each.startsWith(`${name}=`))
      ?.slice(name.length + 1)
      .replaceAll('"', '')
  const weight = Number(parameter('q') ?? 1)
  const ours = type !== 'application/openmetrics-text' || (parameter('version') ?? '1.0.0') === '1.0.0'
  return { type, weight: ours && weight >= 0 && weight <= 1 ? weight : 0 }
}
