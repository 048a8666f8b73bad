/** Chaos with short leases: outages longer than all of them take seconds. RELAY_TEST_SEED repeats a run, RELAY_CHAOS_ROUNDS limits it or names its rounds. */
import { chaosRounds, full, seed } from '../setup/seed.ts'
import { rounds } from './chaos/rounds.ts'

rounds({
  seed,
  numbers: chaosRounds(full ? 190 : 2),
  timeoutMs: 240_000,
  // The oauth service's is twice OAUTH_PROVIDER_TIMEOUT and 2 s; that of a claim is 5 s.
  leases: { runMs: 2000, longestMs: 8000 },
  env: { RUN_LEASE: '2s', RECONCILE_EVERY: '200ms', OAUTH_PROVIDER_TIMEOUT: '3s', EXECUTE_WAIT: '500ms', SANDBOX_TOKEN_TTL: '2s' },
})
