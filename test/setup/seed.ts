/** What varies between test runs: `RELAY_TEST_FULL=1` for the long one, `RELAY_TEST_SEED` to repeat one. */

/** Whether tests that take longer run too. */
export const full = process.env.RELAY_TEST_FULL === '1'

/** Where all randomness of the tests begins; the same in every `make test`. */
export const seed = Number(process.env.RELAY_TEST_SEED ?? 1)
