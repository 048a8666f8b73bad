/** Chaos with the leases of production: outages of half a minute. RELAY_TEST_SEED repeats a run, RELAY_CHAOS_ROUNDS limits it or names its rounds. */
import { chaosRounds, seed } from '../setup/seed.ts'
import { rounds } from './chaos/rounds.ts'

rounds({
  seed,
  numbers: chaosRounds(10),
  timeoutMs: 480_000,
  leases: { runMs: 15_000, longestMs: 15_000 },
  env: { RUN_LEASE: '15s', RECONCILE_EVERY: '1s', SANDBOX_TOKEN_TTL: '5s' },
})
