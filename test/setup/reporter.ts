import type { Reporter, SerializedError, TestModule } from 'vitest/node'
import { full, seed } from './seed.ts'

/** Far longer than any one test may take (vitest.config.ts). */
const stallMs = full ? 900_000 : 120_000

/** What `make test` is promised to take at the most, and one file of it; the long run takes what it takes. */
const [maxRunMs, maxFileMs] = full ? [Infinity, Infinity] : [480_000, 60_000]

/**
 * Ends a run with its counts alone on a line: `N passed, N failed`, and `, N skipped` where some were. A run that stands still, which the
 * timeouts of single tests cannot see, is ended as failed, naming the files that it stands in. Files, and whole runs, that take longer than
 * they should are named, and fail nothing: a busy machine is no mistake. So are the files of which tests were skipped, and why.
 */
export default class Counts implements Reporter {
  readonly #open = new Set<string>()
  #stall: NodeJS.Timeout | undefined
  #startedMs = 0

  onTestRunStart(): void {
    this.#startedMs = performance.now()
    this.#moves()
  }
  onTestModuleQueued(module: TestModule): void {
    this.#open.add(module.relativeModuleId)
    this.#moves()
  }
  onTestModuleEnd(module: TestModule): void {
    this.#open.delete(module.relativeModuleId)
    this.#moves()
  }
  onTestCaseResult(): void {
    this.#moves()
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    clearTimeout(this.#stall)
    const skipped = new Map<string, number>()
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 }
    for (const module of modules) {
      // A file that cannot be loaded, or whose hooks fail, holds no test that could say so.
      counts.failed += module.errors().length
      for (const suite of module.children.allSuites()) counts.failed += suite.errors().length
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        counts[state === 'pending' ? 'skipped' : state] += 1
        if (state === 'passed' || state === 'failed') continue
        const why = test.meta().skippedBecause ?? 'its own condition'
        const line = `${module.relativeModuleId}: ${why}`
        skipped.set(line, (skipped.get(line) ?? 0) + 1)
      }
    }
    for (const [line, times] of skipped) console.warn(`Skipped ${times} ${times === 1 ? 'test' : 'tests'} of ${line}`)
    for (const slow of this.#slow(modules)) console.warn(slow)
    if (full) console.log(`The seed was ${seed}: RELAY_TEST_SEED=${seed} make test-full repeats this run.`)
    console.log(`${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}`)
  }

  /** A sentence for each thing that took too long. */
  #slow(modules: readonly TestModule[]): string[] {
    const took = (what: string, ms: number, longestMs: number): string[] =>
      ms > longestMs ? [`${what} took ${Math.round(ms / 1000)} s, which is more than ${longestMs / 1000} s.`] : []
    const files = modules.flatMap((each) => took(each.relativeModuleId, each.diagnostic().duration, maxFileMs))
    return [...files, ...took('The run', performance.now() - this.#startedMs, maxRunMs)]
  }

  #moves(): void {
    clearTimeout(this.#stall)
    this.#stall = setTimeout(() => {
      console.error(`Nothing has happened for ${stallMs / 1000} s in ${[...this.#open].join(', ') || 'the run'}: given up.`)
      process.exit(1)
    }, stallMs)
  }
}
