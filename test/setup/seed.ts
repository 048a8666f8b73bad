/** What varies between test runs: `RELAY_TEST_FULL=1` for the long one, `RELAY_TEST_SEED` to repeat one. */

/** Whether tests that take longer run too. */
export const full = process.env.RELAY_TEST_FULL === '1'

/** Where all randomness of the tests begins; the same in every `make test`. */
export const seed = Number(process.env.RELAY_TEST_SEED ?? 1)

/** Which rounds of chaos there are, from 1: as many as usual, unless RELAY_CHAOS_ROUNDS has a number ("20") or a range ("61-80", "9-9"). */
export function chaosRounds(usual: number): number[] {
  const [one, other] = (process.env.RELAY_CHAOS_ROUNDS ?? String(usual)).split('-').map(Number)
  const [from, to] = other === undefined ? [1, one!] : [one!, other]
  return Array.from({ length: to - from + 1 }, (_, index) => from + index)
}

/** Numbers from 0 to below 1, the same everywhere for the same start: xorshift32. */
export function randomFrom(start: number): () => number {
  let state = start | 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
