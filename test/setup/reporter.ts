import type { Reporter, SerializedError, TestModule } from 'vitest/node'
import { full, seed } from './seed.ts'

/** Ends a run with its counts alone on a line: `N passed, N failed`, and `, N skipped` where some were. */
export default class Counts implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 }
    for (const module of modules) {
      // A file that cannot be loaded, or whose hooks fail, holds no test that could say so.
      counts.failed += module.errors().length
      for (const suite of module.children.allSuites()) counts.failed += suite.errors().length
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        counts[state === 'pending' ? 'skipped' : state] += 1
      }
    }
    if (full) console.log(`The seed was ${seed}: RELAY_TEST_SEED=${seed} make test-full repeats this run.`)
    console.log(`${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}`)
  }
}
