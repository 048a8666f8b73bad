/** Histograms as Prometheus counts them: by upper bound, each bucket with all below it. Pure. */
import type { Series } from './exposition.ts'

export interface Bucket {
  /** The upper bound, included; the last one is Infinity. */
  le: number
  /** What was not above it. */
  count: number
}

/** In ascending order of bounds; empty when nothing was observed. */
export type Histogram = readonly Bucket[]

/** The sum of all series of one histogram whose labels are wanted. */
export function histogramOf(all: readonly Series[], name: string, wanted: (labels: Series['labels']) => boolean): Histogram {
  const counts = new Map<number, number>()
  for (const { name: own, labels, value } of all) {
    if (own !== `${name}_bucket` || labels['le'] === undefined || !wanted(labels)) continue
    const le = labels['le'] === '+Inf' ? Infinity : Number(labels['le'])
    counts.set(le, (counts.get(le) ?? 0) + value)
  }
  return [...counts].map(([le, count]) => ({ le, count })).sort((a, b) => a.le - b.le)
}

/** What came between two looks at the same histogram, both of the same process's life. */
export function between(before: Histogram, after: Histogram): Histogram {
  const earlier = new Map(before.map(({ le, count }) => [le, count]))
  return after.map(({ le, count }) => ({ le, count: count - (earlier.get(le) ?? 0) }))
}

/** Of several processes that count by the same bounds. */
export function sum(histograms: readonly Histogram[]): Histogram {
  const counts = new Map<number, number>()
  for (const { le, count } of histograms.flat()) counts.set(le, (counts.get(le) ?? 0) + count)
  return [...counts].map(([le, count]) => ({ le, count })).sort((a, b) => a.le - b.le)
}

export const countOf = (histogram: Histogram): number => histogram.at(-1)?.count ?? 0

/**
 * The value that a share of all values does not exceed, as near as buckets tell: a straight line within the one that holds it. It is at
 * most a bucket's bound exactly when that share of the values is, so limits that are bounds are judged exactly. Infinity beyond the last
 * finite bound, where Prometheus itself would name that bound: a gate does not flatter. NaN for nothing.
 */
export function quantile(histogram: Histogram, share: number): number {
  const rank = Math.max(1, Math.ceil(countOf(histogram) * share))
  const index = histogram.findIndex(({ count }) => count >= rank)
  const bucket = histogram[index]
  if (bucket === undefined) return Number.NaN
  if (bucket.le === Infinity) return Infinity
  const below = histogram[index - 1] ?? { le: 0, count: 0 }
  // Rounding may carry the last point of the line beyond the bound.
  return Math.min(bucket.le, below.le + ((bucket.le - below.le) * (rank - below.count)) / (bucket.count - below.count))
}
