/** Prometheus metrics of one process. Label values come from closed sets: methods, codes, reasons; never from what a caller sends. */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'

export class Metrics {
  readonly registry = new Registry()

  constructor(service: string) {
    this.registry.setDefaultLabels({ service })
    collectDefaultMetrics({ register: this.registry })
  }

  counter<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.registry] })
  }

  /** `collect` is called at each scrape. */
  gauge<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
    collect?: (gauge: Gauge<L>) => void | Promise<void>,
  ): Gauge<L> {
    const options = { name, help, labelNames: [...labelNames], registers: [this.registry] }
    return new Gauge<L>(
      collect === undefined
        ? options
        : {
            ...options,
            collect() {
              return collect(this)
            },
          },
    )
  }

  /** In seconds, with buckets from 1 ms to 30 s. */
  seconds<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Histogram<L> {
    const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.2, 2.5, 5, 10, 30]
    return new Histogram({ name, help, labelNames: [...labelNames], buckets, registers: [this.registry] })
  }
}
