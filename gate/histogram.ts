/** Prometheus histograms: by upper bound, each bucket including all below it. Pure. */
import type { Series } from './exposition.ts'

export interface Bucket {
  /** The upper bound, inclusive; the last one is Infinity. */
  le: number
  /** The number of values up to it. */
  count: number
}

/** In ascending order of bounds; empty if nothing was observed. */
export type Histogram = readonly Bucket[]

/** The sum of all matching series of one histogram. */
export function histogramOf(all: readonly Series[], name: string, wanted: (labels: Series['labels']) => boolean): Histogram {
  const counts = new Map<number, number>()
  for (const { name: own, labels, value } of all) {
    if (own !== `${name}_bucket` || labels['le'] === undefined || !wanted(labels)) continue
    const le = labels['le'] === '+Inf' ? Infinity : Number(labels['le'])
    counts.set(le, (counts.get(le) ?? 0) + value)
  }
  return [...counts].map(([le, count]) => ({ le, count })).sort((a, b) => a.le - b.le)
}

/** The difference between two snapshots of one histogram of the same process. */
export function between(before: Histogram, after: Histogram): Histogram {
  const earlier = new Map(before.map(({ le, count }) => [le, count]))
  return after.map(({ le, count }) => ({ le, count: count - (earlier.get(le) ?? 0) }))
}

/** The sum over several processes with the same bounds. */
export function sum(histograms: readonly Histogram[]): Histogram {
  const counts = new Map<number, number>()
  for (const { le, count } of histograms.flat()) counts.set(le, (counts.get(le) ?? 0) + count)
  return [...counts].map(([le, count]) => ({ le, count })).sort((a, b) => a.le - b.le)
}

export const countOf = (histogram: Histogram): number => histogram.at(-1)?.count ?? 0

/**
 * The value that a share of all values does not exceed, as exactly as buckets tell: linear within its bucket. It is at most a bucket's
 * bound exactly if that share of the values is, so limits that are bounds are judged exactly. Infinity beyond the last finite bound
 * (Prometheus itself would return that bound, which would make a release look better). NaN without values.
 */
export function quantile(histogram: Histogram, share: number): number {
  const rank = Math.max(1, Math.ceil(countOf(histogram) * share))
  const index = histogram.findIndex(({ count }) => count >= rank)
  const bucket = histogram[index]
  if (bucket === undefined) return Number.NaN
  if (bucket.le === Infinity) return Infinity
  const below = histogram[index - 1] ?? { le: 0, count: 0 }
  // Rounding may move the last point of the line beyond the bound.
  return Math.min(bucket.le, below.le + ((bucket.le - below.le) * (rank - below.count)) / (bucket.count - below.count))
}
