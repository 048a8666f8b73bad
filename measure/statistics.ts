/** What is said of many measurements. Pure. */

/** The value that a share of all values does not exceed, by the nearest rank; `values` in ascending order. NaN when there is none. */
export function percentile(values: Float64Array, share: number): number {
  return values[Math.max(0, Math.ceil(values.length * share) - 1)] ?? Number.NaN
}

/** The middle of repeated measurements, and how far they lie apart. */
export interface Spread {
  median: number
  min: number
  max: number
}

export function spread(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort()
  const [low, high] = [percentile(sorted, 0.5), sorted[Math.floor(sorted.length / 2)] ?? Number.NaN]
  return { median: (low + high) / 2, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN }
}
