/** The parts of the bench: what is done, how often and in which order. */
import type { Options } from './options.ts'
import { residentOf } from '../measure/processes.ts'
import type { Sample } from './sample.ts'
import type { BenchMesh, Subject } from './bench-mesh.ts'

export const concurrencies = [1, 32] as const

/** Resident memory by process, in bytes. */
export type Resident = Record<string, number>

export interface ComparedFigures {
  concurrency: number
  /** One of each per repetition, measured one right after the other. */
  base: Sample[]
  ours: Sample[]
}

export interface ExecuteFigures {
  concurrency: number
  samples: Sample[]
}

/** Called with the progress. */
type Progress = (text: string) => void

/** The memory of new processes after 1,000 requests through either gateway (half of ours preview and execute) and a rest. */
export async function measureRss(stage: BenchMesh, { restMs }: Pick<Options, 'restMs'>): Promise<Resident> {
  await stage.run(stage.baseline, { kind: 'list', concurrency: 8, rounds: 1000 })
  await stage.run(stage.ours, { kind: 'list', concurrency: 8, rounds: 500 })
  await stage.run(stage.ours, { kind: 'execute', concurrency: 8, rounds: 250 })
  await stage.rest(restMs)
  const { postgres: _postgres, ...ours } = stage.ours.processes
  return Object.fromEntries(Object.entries({ ...stage.baseline.processes, ...ours }).map(([name, pid]) => [name, residentOf(pid)]))
}

export interface TracingFigures {
  /** Bytes by process, after the same 1,000 requests, each of them recorded. */
  resident: Resident
  /** Beside a gateway that records none: one that records every request, and one that records a hundredth. */
  all: ComparedFigures[]
  some: ComparedFigures[]
}

export async function measureTraced(stage: BenchMesh, options: Options, progress: Progress): Promise<TracingFigures> {
  const { all, some, none } = await stage.startTraced(progress)
  progress('tracing: 1,000 requests and a rest')
  await stage.run(all, { kind: 'list', concurrency: 8, rounds: 500 })
  await stage.run(all, { kind: 'execute', concurrency: 8, rounds: 250 })
  await stage.rest(options.restMs)
  const { postgres: _postgres, ...traced } = all.processes
  const resident = Object.fromEntries(Object.entries(traced).map(([name, pid]) => [name, residentOf(pid)]))
  return {
    resident,
    all: await compareLists(stage, { base: none, ours: all }, options, progress),
    some: await compareLists(stage, { base: none, ours: some }, options, progress),
  }
}

/** The reference, and ours. */
export interface Pair {
  base: Subject
  ours: Subject
}

/** Lists through both in turn, so that other load on the machine affects both alike. The order changes, too. */
export async function compareLists(stage: BenchMesh, pair: Pair, options: Options, progress: Progress): Promise<ComparedFigures[]> {
  const { times, ms } = options.list
  const { base, ours } = pair
  for (const subject of [base, ours]) {
    progress(`list: warming up ${subject.name}`)
    await stage.run(subject, { kind: 'list', concurrency: 32, ms: options.warmUpMs })
  }
  const results: ComparedFigures[] = concurrencies.map((concurrency) => ({ concurrency, base: [], ours: [] }))
  for (let repetition = 0; repetition < times; repetition += 1) {
    for (const result of results) {
      const order = repetition % 2 === 0 ? [base, ours] : [ours, base]
      for (const subject of order) {
        progress(`list: repetition ${repetition + 1} of ${times}, concurrency ${result.concurrency}, ${subject.name}`)
        const sample = await stage.run(subject, { kind: 'list', concurrency: result.concurrency, ms })
        result[subject === base ? 'base' : 'ours'].push(sample)
      }
    }
  }
  checkSameSize(results)
  return results
}

function checkSameSize(results: readonly ComparedFigures[]): void {
  const sizes = new Set(results.flatMap(({ base, ours }) => [...base, ...ours].map(({ bytes }) => bytes)))
  if (sizes.size > 1) throw new Error(`the answers compared differ in size: ${[...sizes].join(', ')} bytes`)
}

/** Previews and executes through the whole mesh. */
export async function measureExecutes(stage: BenchMesh, options: Options, progress: Progress): Promise<ExecuteFigures[]> {
  const { times, ms } = options.execute
  progress('execute: warming up')
  await stage.run(stage.ours, { kind: 'execute', concurrency: 32, ms: options.warmUpMs })
  const results: ExecuteFigures[] = concurrencies.map((concurrency) => ({ concurrency, samples: [] }))
  for (let repetition = 0; repetition < times; repetition += 1) {
    for (const { concurrency, samples } of results) {
      progress(`execute: repetition ${repetition + 1} of ${times}, concurrency ${concurrency}`)
      samples.push(await stage.run(stage.ours, { kind: 'execute', concurrency, ms }))
    }
  }
  return results
}
