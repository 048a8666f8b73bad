/**
 * A histogram of seconds whose buckets each remember the last recorded trace in them: the exemplar, which leads from a spike to the request
 * behind it. prom-client keeps exemplars only in registries that write OpenMetrics and nothing else, so they are kept here.
 */
import type { Histogram } from 'prom-client'
import type { TraceContext } from './trace-context.ts'

export interface Exemplar {
  readonly traceId: string
  /** The observed value, in seconds. */
  readonly value: number
  /** The time, in seconds since the epoch. */
  readonly at: number
}

type Labels = Readonly<Partial<Record<string, string | number>>>

export interface LabelledHistogram {
  /** The trace is remembered if it is recorded: no other can be found. */
  observe(seconds: number, trace?: TraceContext): void
}

/** From 1 ms to 30 s, in seconds. They include the limits of Relay's objectives: 50 ms and 1.2 s. */
export const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.2, 2.5, 5, 10, 30]

export class LatencyHistogram<L extends string = string> {
  readonly #histogram: Histogram<L>
  readonly #labelNames: readonly L[]
  /** By labels; one per bucket, and one for values above all of them. */
  readonly #exemplars = new Map<string, (Exemplar | undefined)[]>()

  constructor(histogram: Histogram<L>, labelNames: readonly L[]) {
    this.#histogram = histogram
    this.#labelNames = labelNames
  }

  /** Starts the series at 0. Keep the result for frequent observations: looking labels up costs more than counting. */
  labels(labels: Record<L, string>): LabelledHistogram {
    const counted = this.#histogram.labels(labels)
    const exemplars = this.#begun(labels)
    return {
      observe(seconds, trace) {
        counted.observe(seconds)
        if (trace?.sampled) exemplars[bucketOf(seconds)] = { traceId: trace.traceId, value: seconds, at: Date.now() / 1000 }
      },
    }
  }

  /** The returned function observes the time since now. */
  startTimer(labels = {} as Record<L, string>): () => void {
    const [timed, started] = [this.labels(labels), performance.now()]
    return () => timed.observe((performance.now() - started) / 1000)
  }

  /** The last exemplar in the bucket with these labels, including `le`, a number or the text +Inf. */
  exemplar(labels: Labels): Exemplar | undefined {
    const { le } = labels
    return le === undefined ? undefined : this.#exemplars.get(this.#keyOf(labels))?.[bucketOf(le === '+Inf' ? Infinity : Number(le))]
  }

  /** The exemplars of a series. */
  #begun(labels: Record<L, string>): (Exemplar | undefined)[] {
    const key = this.#keyOf(labels)
    const known = this.#exemplars.get(key)
    if (known !== undefined) return known
    this.#histogram.zero(labels)
    const places = Array.from<Exemplar | undefined>({ length: buckets.length + 1 })
    this.#exemplars.set(key, places)
    return places
  }

  #keyOf(labels: Labels): string {
    return JSON.stringify(this.#labelNames.map((name) => labels[name]))
  }
}

/** The index of the first bucket that contains it. */
function bucketOf(seconds: number): number {
  let index = 0
  while (index < buckets.length && seconds > buckets[index]!) index += 1
  return index
}
