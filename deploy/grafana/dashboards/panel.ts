/** Panels of Grafana dashboards as few words say them; `dashboard.ts` puts them into place. */

export interface Query {
  readonly expr: string
  /** What a line is called; Grafana's template of labels. */
  readonly legend: string
}

export interface Threshold {
  readonly from: number
  readonly color: 'green' | 'yellow' | 'red'
}

/** A panel without its place. */
export interface Panel {
  readonly type: string
  readonly title: string
  readonly description: string
  /** Of 24 columns. */
  readonly width: number
  readonly height: number
  readonly [option: string]: unknown
}

/** Grafana's names of units. */
export type Unit = 's' | 'reqps' | 'ops' | 'short' | 'percentunit' | 'bytes' | 'bool_on_off'

export interface PanelWords {
  title: string
  /** What it shows, and what to make of it. */
  description: string
  unit: Unit
  queries: readonly Query[]
  width?: number
  /** Drawn as lines; the last one that is reached gives the colour. */
  thresholds?: readonly Threshold[]
  /** Points that open the trace of one request. Of queries of `…_bucket` alone. */
  exemplars?: boolean
  stacked?: boolean
  links?: readonly { title: string; url: string }[]
  max?: number
}

export const prometheus = { type: 'prometheus', uid: 'prometheus' } as const
export const tempo = { type: 'tempo', uid: 'tempo' } as const
export const loki = { type: 'loki', uid: 'loki' } as const

/** The PromQL of a quantile of a histogram over the rate interval, told apart by `by`. */
export const quantile = (of: number, histogram: string, labels = '', by = ''): string =>
  `histogram_quantile(${of}, sum by (${by === '' ? 'le' : `${by}, le`}) (rate(${histogram}_bucket{${labels}}[$__rate_interval])))`

const refs = 'ABCDEFGHIJ'

const targets = ({ queries, exemplars = false }: PanelWords, instant = false) =>
  queries.map(({ expr, legend }, index) => ({
    refId: refs[index]!,
    datasource: prometheus,
    expr,
    legendFormat: legend,
    exemplar: exemplars,
    instant,
    range: !instant,
  }))

const steps = (thresholds: readonly Threshold[]) => ({
  mode: 'absolute',
  steps: [{ color: 'green', value: null }, ...thresholds.map(({ from, color }) => ({ color, value: from }))],
})

const common = ({ title, description, links = [] }: PanelWords) => ({ title, description, datasource: prometheus, links })

/** Lines over time. */
export const graph = (words: PanelWords): Panel => ({
  ...common(words),
  type: 'timeseries',
  width: words.width ?? 8,
  height: 8,
  targets: targets(words),
  fieldConfig: {
    defaults: {
      unit: words.unit,
      min: 0,
      ...(words.max === undefined ? {} : { max: words.max }),
      thresholds: steps(words.thresholds ?? []),
      custom: {
        lineWidth: 1,
        fillOpacity: words.stacked === true ? 30 : 0,
        showPoints: 'never',
        stacking: { mode: words.stacked === true ? 'normal' : 'none', group: 'A' },
        thresholdsStyle: { mode: words.thresholds === undefined ? 'off' : 'line' },
      },
    },
    overrides: [],
  },
  options: {
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
})

/** One number, now. */
export const stat = (words: PanelWords): Panel => ({
  ...common(words),
  type: 'stat',
  width: words.width ?? 4,
  height: 4,
  targets: targets(words, true),
  fieldConfig: { defaults: { unit: words.unit, thresholds: steps(words.thresholds ?? []), noValue: '–' }, overrides: [] },
  options: {
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    colorMode: words.thresholds === undefined ? 'none' : 'value',
    graphMode: 'none',
    textMode: words.queries.length > 1 || words.queries[0]!.legend !== '' ? 'value_and_name' : 'value',
  },
})

interface Found {
  title: string
  description: string
  /** TraceQL, LogQL. */
  query: string
  width?: number
}

/** Traces that a TraceQL query finds; a click opens one. */
export const traces = ({ title, description, query, width = 12 }: Found): Panel => ({
  type: 'table',
  title,
  description,
  datasource: tempo,
  width,
  height: 9,
  targets: [{ refId: 'A', datasource: tempo, queryType: 'traceql', query, limit: 20, tableType: 'traces' }],
  fieldConfig: { defaults: {}, overrides: [] },
  options: { showHeader: true },
})

/** Log lines that a LogQL query finds. */
export const logs = ({ title, description, query, width = 12 }: Found): Panel => ({
  type: 'logs',
  title,
  description,
  datasource: loki,
  width,
  height: 9,
  targets: [{ refId: 'A', datasource: loki, expr: query, queryType: 'range', maxLines: 200 }],
  options: { showTime: true, wrapLogMessage: true, enableLogDetails: true, sortOrder: 'Descending', dedupStrategy: 'none' },
})

/** The alerts that are firing; the query is further labels of theirs. */
export const alerts = ({ title, description, query: filter, width = 8 }: Found): Panel => ({
  type: 'table',
  title,
  description,
  datasource: prometheus,
  width,
  height: 8,
  targets: [
    { refId: 'A', datasource: prometheus, expr: `ALERTS{alertstate="firing"${filter}}`, format: 'table', instant: true, range: false },
  ],
  transformations: [{ id: 'organize', options: { excludeByName: { Time: true, Value: true, __name__: true, alertstate: true } } }],
  fieldConfig: { defaults: { noValue: 'no alert is firing' }, overrides: [] },
  options: { showHeader: true },
})
