/** A typical hour of use, as a sequence that repeats. Pure. README.md says why. */

/** `run` reads one run, `runs` lists them; `refused` is a request that must be rejected. */
export type Kind = 'list' | 'preview' | 'execute' | 'replay' | 'run' | 'runs' | 'refused'

/**
 * Twenty arrivals: 5 previews, of which 4 are executed, 4 lists, 2 replays, 2 reads of a run, 1 list of runs, 2 that must be rejected. The
 * order is fixed, so that two runs of the gate send the same; each execute follows its preview by some arrivals.
 */
export const mix: readonly Kind[] = [
  'list',
  'preview',
  'preview',
  'execute',
  'run',
  'list',
  'preview',
  'refused',
  'execute',
  'replay',
  'list',
  'preview',
  'runs',
  'execute',
  'run',
  'list',
  'preview',
  'refused',
  'execute',
  'replay',
]

/** Changes with the workload: figures of different workloads are not comparable. */
export const mixVersion = 1

/** Reads that call no provider or receiver, and previews. */
export const light: ReadonlySet<Kind> = new Set(['list', 'preview', 'run', 'runs'])

/** The gateway's names of the light endpoints, as method and path. */
export const lightEndpoints: ReadonlySet<string> = new Set([
  'GET /actions',
  'POST /actions/preview',
  'GET /actions/runs',
  'GET /actions/runs/{run_id}',
])

export const kindOf = (arrival: number): Kind => mix[arrival % mix.length]!
