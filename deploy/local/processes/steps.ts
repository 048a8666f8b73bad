/** Steps of a start: said, timed, and waited for. */

export type ProgressLog = (line: string) => void

/** Runs a step and says how long it took; `done` says what came of it. */
export async function timed<T>(say: ProgressLog, doing: string, step: () => Promise<T>, done: (value: T) => string): Promise<T> {
  say(`${doing} …`)
  const start = performance.now()
  const value = await step()
  say(`  ${done(value)} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
  return value
}

/** All of them, once each has ended one way or the other: a failure of one must not hide what another has started. */
export async function all<T extends readonly unknown[] | []>(steps: T): Promise<{ -readonly [Key in keyof T]: Awaited<T[Key]> }> {
  await Promise.allSettled(steps)
  return Promise.all(steps)
}
