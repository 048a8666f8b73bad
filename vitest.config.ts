import { defineConfig } from 'vitest/config'
import Order from './test/setup/order.ts'

/** These start whole meshes. */
const journeys = ['test/journeys/**/*.test.ts', 'test/deploy/**/*.test.ts']
const full = process.env.RELAY_TEST_FULL === '1'

/**
 * `make test-faults`: these kill, replace and overload processes while others use them, and expect that no call fails, however short its
 * deadline. On a machine that other tests saturate, a start alone takes longer than some deadlines, so they run one at a time. So does what measures a latency.
 */
const faults = [
  ...['chaos', 'drain', 'gate', 'kills', 'replacement', 'tracing-crash'].map((name) => `test/journeys/${name}.test.ts`),
  'test/gate/faults.test.ts',
  'test/gate/run.test.ts',
  'test/services/oauth/process.test.ts',
]

/** These replace modules, which would reach the files after them. */
const apart = ['test/mesh/loop.test.ts']

/** What takes minutes of a machine, or of waiting, stands in the long run alone. Each has a smaller one beside it that never fails to run. */
const long = [
  'test/journeys/mail-kills.test.ts', // test/providers/google/gmail-send-email-crash.test.ts: a holder that vanishes at each step of a mail
  'test/journeys/chaos-leases.test.ts', // test/journeys/chaos.test.ts: the same with short leases
  'test/journeys/tracing-exporter.test.ts', // test/mesh/telemetry/open-telemetry.test.ts: a receiver that is unavailable, silent, slow or rejects
]

// Most of a run is waiting for processes that start and for time to pass: three files at once fill two cores. Journeys come after the rest:
// a mesh that starts takes both cores for seconds, in which calls of a unit test would miss their deadlines.
const unit = { maxWorkers: full ? 2 : 3, sequence: { groupOrder: 0 } }
const alone = { maxWorkers: full ? 1 : 3, sequence: { groupOrder: 1 } }
const last = { maxWorkers: 1, sequence: { groupOrder: 2 } }

export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: full ? 600_000 : 30_000,
    hookTimeout: 60_000,
    globalSetup: ['test/setup/parts.ts'],
    setupFiles: ['test/setup/properties.ts'],
    reporters: ['default', './test/setup/reporter.ts'],
    sequence: { sequencer: Order },
    // Of `make coverage`: what the unit tests reach in their own processes. A file that no test loads counts as not covered at all, such as
    // a main.ts, which the journeys run. The floor is two points below what was measured.
    coverage: {
      provider: 'v8',
      include: [
        'deploy/**/*.ts',
        'gate/**/*.ts',
        'gateway/**/*.ts',
        'measure/**/*.ts',
        'mesh/**/*.ts',
        'proto/*.ts',
        'providers/**/*.ts',
        'services/**/*.ts',
      ],
      reporter: ['text-summary'],
      reportsDirectory: '.cache/coverage',
      thresholds: { statements: 79, branches: 77, functions: 79, lines: 80 },
    },
    projects: [
      // One process runs many of these, one after the other: loading everything again for each file took a third of their CPU time.
      {
        extends: true,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: [...journeys, ...apart, ...faults], isolate: false, ...unit },
      },
      { extends: true, test: { name: 'apart', include: apart, ...unit } },
      { extends: true, test: { name: 'journeys', include: journeys, exclude: [...faults, ...(full ? [] : long)], ...alone } },
      { extends: true, test: { name: 'faults', include: faults, ...last } },
    ],
  },
})
