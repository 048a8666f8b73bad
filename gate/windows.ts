/** Errors over time: one bad minute happens, three in a row are an outage. Pure. */

/** A minute; a third of the run if it is shorter than three minutes. In milliseconds. */
export const windowMsOf = (runMs: number): number => Math.min(60_000, runMs / 3)

export interface Sample {
  /** From the start of the run, in milliseconds. */
  atMs: number
  bad: boolean
}

export interface Windows {
  /** Requests and errors per window, in order. The rest at the end is a window too, if a shorter one. */
  counts: readonly { requests: number; bad: number }[]
  /** The maximum number of windows in a row that each had an error. */
  longest: number
}

export function inWindows(moments: readonly Sample[], runMs: number): Windows {
  const windowMs = windowMsOf(runMs)
  // A run of 15 s in thirds has three windows, whatever floating point makes of it.
  const counts = Array.from({ length: Math.ceil(runMs / windowMs - 1e-9) }, () => ({ requests: 0, bad: 0 }))
  for (const { atMs, bad } of moments) {
    const window = counts[Math.min(counts.length - 1, Math.max(0, Math.floor(atMs / windowMs)))]!
    window.requests += 1
    if (bad) window.bad += 1
  }
  let [longest, row] = [0, 0]
  for (const { bad } of counts) {
    row = bad > 0 ? row + 1 : 0
    longest = Math.max(longest, row)
  }
  return { counts, longest }
}
