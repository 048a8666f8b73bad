/**
 * A histogram of seconds whose buckets each remember the last recorded trace that fell into them: the exemplar, which leads from a spike
 * to the request that made it. prom-client keeps exemplars in registries that know no format but OpenMetrics, so they are kept here.
 */
import type { Histogram } from 'prom-client'
import type { TraceContext } from './trace-context.ts'

export interface Exemplar {
  readonly traceId: string
  /** What was observed, in seconds. */
  readonly value: number
  /** When, in seconds since the epoch. */
  readonly at: number
}

type Labels = Readonly<Partial<Record<string, string | number>>>

export interface LabelledHistogram {
  /** The trace is remembered where it is recorded: nobody finds another. */
  observe(seconds: number, trace?: TraceContext): void
}

/** From 1 ms to 30 s, in seconds. The limits that Relay is judged by are among them: 50 ms and 1.2 s. */
export const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.2, 2.5, 5, 10, 30]

export class LatencyHistogram<L extends string = string> {
  readonly #histogram: Histogram<L>
  readonly #labelNames: readonly L[]
  /** By labels; one place a bucket, and one for what is longer than all of them. */
  readonly #exemplars = new Map<string, (Exemplar | undefined)[]>()

  constructor(histogram: Histogram<L>, labelNames: readonly L[]) {
    this.#histogram = histogram
    this.#labelNames = labelNames
  }

  /** Its series begins here, at 0. To be kept by whoever observes often: to look labels up costs more than to count. */
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

  /** What fell last into the bucket with these labels, of which `le` is one, a number or the text +Inf. */
  exemplar(labels: Labels): Exemplar | undefined {
    const { le } = labels
    return le === undefined ? undefined : this.#exemplars.get(this.#keyOf(labels))?.[bucketOf(le === '+Inf' ? Infinity : Number(le))]
  }

  /** The places of a series' exemplars. */
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

/** The index of the first bucket that holds it. */
function bucketOf(seconds: number): number {
  let index = 0
  while (index < buckets.length && seconds > buckets[index]!) index += 1
  return index
}
