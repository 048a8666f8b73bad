/** Registers rounds of chaos as tests, and what must hold over all of them. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Chaos, type ChaosOptions, type Round } from './chaos.ts'

export interface RoundsOptions extends ChaosOptions {
  /** Their numbers: what happens in one follows from the seed and its number alone. */
  numbers: readonly number[]
  /** How long one may take. */
  timeoutMs: number
}

/** Of the runs of rounds in which no process died: at most so many may end as unknown. */
const maxUnknown = 0.01

export function rounds({ numbers, timeoutMs, ...options }: RoundsOptions): void {
  const done: Round[] = []
  const chaos = new Chaos(options)
  beforeAll(() => chaos.start(), 120_000)
  afterAll(async () => {
    const logs = await chaos.end(done.length < numbers.length || totals(done).violations > 0)
    if (logs !== undefined) console.log(`The logs of this chaos are in ${logs}`)
  }, 60_000)

  const promise = 'nothing is done twice, no connection is lost, and what is said of each run is true'
  test.each(numbers)(
    `whatever is stopped, slowed or cut off: ${promise} (round %i, seed ${options.seed})`,
    async (number) => {
      const round = await chaos.round(number - 1)
      done.push(round)
      console.log(`Round ${number} of seed ${options.seed}: ${round.disturbance.what}: ${figures([round])}`)
      for (const sentence of unknowns(round)) console.log(`  ${sentence}`)
      for (const violation of round.violations) console.log(`  ${violation}`)
      expect(round.violations).toEqual([])
    },
    timeoutMs,
  )

  test('while no process dies, it stays unknown of almost no run what became of it', () => {
    const living = done.filter(({ disturbance }) => !disturbance.died)
    const { runs, unknown } = totals(living)
    console.log(`Chaos with seed ${options.seed}, ${done.length} rounds: ${figures(done)}`)
    for (const [kind, ofKind] of byKind(done)) console.log(`  ${kind}: ${ofKind.length} rounds, ${figures(ofKind)}`)
    console.log(`Its ${living.length} rounds in which no process died: ${figures(living)}`)
    expect(runs).toBeGreaterThan(0)
    expect(unknown, `of ${runs}`).toBeLessThanOrEqual(Math.max(1, Math.floor(runs * maxUnknown)))
  })
}

/** What it stays unknown of, for whoever asks whether it must. */
const unknowns = ({ stories }: Round): string[] =>
  stories.flatMap(({ action, told }) => {
    const last = told.at(-1)
    return last?.status === 'unknown' ? [`${action} ${last.runId} is unknown: ${last.reason}`] : []
  })

function byKind(of: readonly Round[]): Map<string, Round[]> {
  const kinds = new Map<string, Round[]>()
  for (const round of of) kinds.set(round.disturbance.kind, [...(kinds.get(round.disturbance.kind) ?? []), round])
  return kinds
}

interface Totals {
  runs: number
  success: number
  failed: number
  unknown: number
  violations: number
}

function totals(of: readonly Round[]): Totals {
  const ends = of.flatMap(({ stories }) => stories.map(({ told }) => told.at(-1)?.status))
  const counted = (status: string) => ends.filter((each) => each === status).length
  const violations = of.reduce((sum, round) => sum + round.violations.length, 0)
  return { runs: ends.length, success: counted('success'), failed: counted('failed'), unknown: counted('unknown'), violations }
}

function figures(of: readonly Round[]): string {
  const { runs, success, failed, unknown, violations } = totals(of)
  return `${runs} runs, ${success} success, ${failed} failed, ${unknown} unknown; ${violations} violations`
}
