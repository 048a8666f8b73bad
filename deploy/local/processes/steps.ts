/** Steps of a start: reported, timed and awaited. */

export type ProgressLog = (line: string) => void

/** Runs a step and reports how long it took; `done` describes the result. */
export async function timed<T>(say: ProgressLog, doing: string, step: () => Promise<T>, done: (value: T) => string): Promise<T> {
  say(`${doing} …`)
  const start = performance.now()
  const value = await step()
  say(`  ${done(value)} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
  return value
}

/** Waits until each step has ended, successfully or not: the failure of one must not hide what another has started. */
export async function all<T extends readonly unknown[] | []>(steps: T): Promise<{ -readonly [Key in keyof T]: Awaited<T[Key]> }> {
  await Promise.allSettled(steps)
  return Promise.all(steps)
}
