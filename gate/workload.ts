/** What a real hour of use consists of, as a sequence that repeats. Pure. README.md says why it is this one. */

/** `run` looks one run up, `runs` lists them; `refused` is a request that must be turned away. */
export type Kind = 'list' | 'preview' | 'execute' | 'replay' | 'run' | 'runs' | 'refused'

/**
 * Twenty arrivals: 5 previews, of which 4 are executed, 4 lists, 2 replays, 2 looks at a run, 1 list of runs, 2 that are refused. In a
 * fixed order, so that two runs of the gate ask the same; each execute comes some arrivals after the preview that it needs.
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

/** Changes when the mix does: figures of another mix are not comparable. */
export const mixVersion = 1

/** Reads that touch no outside, and previews. */
export const light: ReadonlySet<Kind> = new Set(['list', 'preview', 'run', 'runs'])

/** The gateway's names of the light endpoints, as method and path. */
export const lightEndpoints: ReadonlySet<string> = new Set([
  'GET /actions',
  'POST /actions/preview',
  'GET /actions/runs',
  'GET /actions/runs/{run_id}',
])

export const kindOf = (arrival: number): Kind => mix[arrival % mix.length]!
