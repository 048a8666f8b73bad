/** Which series there are, with what labels: those that the processes show, that Prometheus adds, and that rules record. */
import { readFileSync } from 'node:fs'
import { namedIn } from './promql.ts'

export interface Rule {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

/** What each target has, whatever it shows. */
const everywhere = ['job', 'instance', 'service']

/** Series of Prometheus itself. */
const own: Readonly<Record<string, readonly string[]>> = {
  up: everywhere,
  ALERTS: [...everywhere, 'alertname', 'alertstate', 'severity'],
}

export type Series = ReadonlyMap<string, ReadonlySet<string>>

/** Lines of `where name type {label,label}`; one name has the labels that it has anywhere. A histogram is three series. */
export function seriesOf(text: string): Series {
  const series = new Map<string, ReadonlySet<string>>()
  for (const line of text.trimEnd().split('\n')) {
    const [, name = '', type = '', list = ''] = /^\S+ (\w+) (\w+) \{([\w,]*)\}$/.exec(line) ?? []
    if (name === '') throw new Error(`not a line about a metric: ${line}`)
    const labels = [...list.split(',').filter((label) => label !== ''), ...everywhere]
    const add = (each: string, ...more: string[]) => series.set(each, new Set([...(series.get(each) ?? []), ...labels, ...more]))
    if (type === 'histogram') add(`${name}_bucket`, 'le')
    for (const each of type === 'histogram' || type === 'summary' ? [`${name}_sum`, `${name}_count`] : [name]) add(each)
  }
  return series
}

/** All that an expression may name. */
export function knownSeries(rules: readonly Rule[]): Series {
  const shown = seriesOf(readFileSync(new URL('../golden/metrics.txt', import.meta.url), 'utf8'))
  const recorded = rules.flatMap(({ record, labels = {}, expr }) =>
    record === undefined ? [] : [[record, new Set([...Object.keys(labels), ...namedIn(expr).grouping])] as const],
  )
  return new Map([...shown, ...Object.entries(own).map(([name, labels]) => [name, new Set(labels)] as const), ...recorded])
}

/** What an expression names that does not exist; nothing where all is well. */
export function strangersIn(expression: string, known: Series): string[] {
  const { series, grouping } = namedIn(expression)
  const reachable = new Set(series.flatMap(({ metric }) => [...(known.get(metric) ?? [])]))
  return [
    ...series.flatMap(({ metric, labels }) => {
      const has = known.get(metric)
      return has === undefined ? [metric] : labels.filter((label) => !has.has(label)).map((label) => `${metric}{${label}}`)
    }),
    ...grouping.filter((label) => series.length > 0 && !reachable.has(label)).map((label) => `by (${label})`),
  ]
}
