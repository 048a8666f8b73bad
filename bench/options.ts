/** The options of `node bench/run.ts`. */
import { parseArgs } from 'node:util'

export type Part = 'rss' | 'list' | 'execute' | 'access' | 'tracing'

export interface RepeatOptions {
  times: number
  ms: number
}

export interface Options {
  parts: readonly Part[]
  /** The file for all measurements, as JSON. */
  json: string | undefined
  /** The process to profile, instead of measuring. */
  profile: string | undefined
  /** How often each measurement is repeated, and how long it takes, in milliseconds. */
  list: RepeatOptions
  execute: RepeatOptions
  warmUpMs: number
  /** The idle time before memory is read, in milliseconds. */
  restMs: number
}

export const usage = `make bench, or node bench/run.ts [options]
  --quick               short and few repetitions: shows that it works, measures nothing
  --only <part>         rss, list, execute, access or tracing
  --json <file>         leaves everything that was measured there
  --profile <process>   instead of measuring, says where the CPU time of one process goes, and leaves its .cpuprofile under .cache/bench:
                        gateway, actions, idempotency, ratelimit, baseline-gateway, baseline-service; while listing, or what --only says`

const parts: readonly Part[] = ['rss', 'list', 'execute', 'access', 'tracing']

/** Undefined if only help is requested. Throws an Error with the cause. */
export function readOptions(args: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const only = parts.find((part) => part === values.only)
  if (values.only !== undefined && only === undefined) throw new Error(`--only takes ${parts.join(', ')}`)
  // Lists are compared with many short measurements, so that both sides see the same machine. Executes are rarer: their P99 needs longer
  // ones.
  const pace = values.quick
    ? { list: { times: 2, ms: 1000 }, execute: { times: 2, ms: 2000 }, warmUpMs: 2000, restMs: 2000 }
    : { list: { times: 10, ms: 2000 }, execute: { times: 5, ms: 6000 }, warmUpMs: 10_000, restMs: 10_000 }
  return { parts: only === undefined ? parts : [only], json: values.json, profile: values.profile, ...pace }
}
