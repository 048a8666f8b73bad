/** How long to wait before another attempt, in milliseconds. Pure except for randomness. */

/** The wait after the `failures`-th failure in a row (from 1): `firstMs`, doubling up to `maxMs`. */
export const doublingMs = (failures: number, firstMs: number, maxMs: number): number =>
  Math.min(firstMs * 2 ** Math.max(0, failures - 1), maxMs)

/**
 * A random part of it, so that callers who failed together do not return together
 * (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
 */
export const fullJitterMs = (ms: number): number => Math.random() * ms
