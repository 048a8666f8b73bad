import { defineConfig } from 'vitest/config'

// Journeys start whole meshes, so one at a time; the rest fills two cores.
const journeys = ['test/journeys/**/*.test.ts', 'test/deploy/**/*.test.ts']
const full = process.env.RELAY_TEST_FULL === '1'

export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: full ? 600_000 : 30_000,
    hookTimeout: 60_000,
    globalSetup: ['test/setup/parts.ts'],
    setupFiles: ['test/setup/properties.ts'],
    reporters: ['default', './test/setup/reporter.ts'],
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: journeys, maxWorkers: 2, sequence: { groupOrder: 0 } },
      },
      {
        extends: true,
        test: { name: 'journeys', include: journeys, maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
    ],
  },
})
