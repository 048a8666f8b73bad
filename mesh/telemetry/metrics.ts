/** Prometheus metrics of one process. Label values come from closed sets (methods, codes, reasons), never from callers' input. */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import { type Family, openMetrics, openMetricsType, wantsOpenMetrics } from './open-metrics.ts'
import { LatencyHistogram, buckets } from './latency-histogram.ts'

/** Every value of each label. */
type ClosedLabels = Readonly<Record<string, readonly string[]>>
type Values<C extends ClosedLabels> = { readonly [L in keyof C]: C[L][number] }

/** A counter with closed label values, which the compiler checks. */
export interface ClosedCounter<C extends ClosedLabels> {
  inc(labels: Values<C>, by?: number): void
  labels(labels: Values<C>): { inc(by?: number): void }
}

/** A value as prom-client returns it. */
interface Value {
  metricName?: string
  labels: Readonly<Record<string, string | number>>
  value: number
}

export interface ScrapeResult {
  /** The Content-Type. */
  type: string
  body: string
}

export class Metrics {
  readonly registry = new Registry()
  readonly #service: string
  readonly #seconds = new Map<string, LatencyHistogram>()

  constructor(service: string) {
    this.#service = service
    this.registry.setDefaultLabels({ service })
    collectDefaultMetrics({ register: this.registry })
  }

  /**
   * Labels by name, with every value: each combination then exists from the start, as 0. A series that starts at its first event hides that
   * event from `rate` and `increase`, although an alert waits for just that one; and a missing series looks like a missing process. By name
   * alone if the values are known only later: the code that learns them starts the series at 0.
   */
  counter<L extends string>(name: string, help: string, labelNames?: readonly L[]): Counter<L>
  counter<const C extends ClosedLabels>(name: string, help: string, labels: C): ClosedCounter<C>
  counter(name: string, help: string, labels: readonly string[] | ClosedLabels = []): Counter {
    const { labelNames, series } = labelled(labels)
    const counter = new Counter({ name, help, labelNames, registers: [this.registry] })
    for (const each of series) counter.inc(each, 0)
    return counter
  }

  /** Labels as for a counter. `collect` is called at each scrape. */
  gauge<L extends string>(
    name: string,
    help: string,
    labels: readonly L[] | Readonly<Record<L, readonly string[]>> = [],
    collect?: (gauge: Gauge<L>) => void | Promise<void>,
  ): Gauge<L> {
    const { labelNames, series } = labelled(labels)
    const options = { name, help, labelNames, registers: [this.registry] }
    const gauge = new Gauge<L>(
      collect === undefined
        ? options
        : {
            ...options,
            collect() {
              return collect(this)
            },
          },
    )
    for (const each of series) gauge.set(each, 0)
    return gauge
  }

  /** Labels as for a counter. In seconds, with buckets from 1 ms to 30 s, and with exemplars of recorded traces. */
  histogram<L extends string>(
    name: string,
    help: string,
    labels: readonly L[] | Readonly<Record<L, readonly string[]>> = [],
  ): LatencyHistogram<L> {
    const { labelNames, series } = labelled(labels)
    const histogram = new Histogram({ name, help, labelNames, buckets, registers: [this.registry] })
    const seconds = new LatencyHistogram<L>(histogram, labelNames)
    for (const each of series) seconds.labels(each)
    this.#seconds.set(name, seconds)
    return seconds
  }

  /** In the format of the Accept header: OpenMetrics with exemplars, or Prometheus's text format 0.0.4 without. */
  async scrape(accept: string | undefined): Promise<ScrapeResult> {
    if (!wantsOpenMetrics(accept)) return { type: this.registry.contentType, body: await this.registry.metrics() }
    return { type: openMetricsType, body: openMetrics(await this.#families()) }
  }

  #families(): Promise<Family[]> {
    return Promise.all(
      this.registry.getMetricsAsArray().map(async ({ name }) => {
        const { help, type, values } = await this.registry.getSingleMetric(name)!.get()
        const seconds = this.#seconds.get(name)
        const samples = (values as readonly Value[]).map(({ metricName = name, labels, value }) => ({
          name: metricName,
          labels: { ...labels, service: labels['service'] ?? this.#service },
          value,
          exemplar: seconds?.exemplar(labels),
        }))
        // At run time it is a string, whatever is declared.
        return { name, help, type: String(type) as Family['type'], samples }
      }),
    )
  }
}

/** The names of labels, and each initial series: none if the values are not known yet. */
function labelled<L extends string>(labels: readonly L[] | Readonly<Record<L, readonly string[]>>) {
  if (Array.isArray(labels)) return { labelNames: labels as L[], series: [] }
  const closed = labels as Readonly<Record<L, readonly string[]>>
  return { labelNames: Object.keys(closed) as L[], series: combinations(closed) as Record<L, string>[] }
}

/** Every combination of the labels' values. */
function combinations(closed: ClosedLabels): Record<string, string>[] {
  return Object.entries(closed).reduce<Record<string, string>[]>(
    (found, [name, values]) => found.flatMap((each) => values.map((value) => ({ ...each, [name]: value }))),
    [{}],
  )
}
