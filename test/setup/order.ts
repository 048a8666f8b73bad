import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * Journeys need most of the machine while their mesh starts, and wait for much of the time after that. So they do not begin together:
 * they are spread among the other files. Of both the longest come first, as far as that is known.
 */
export default class Order extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isJourney = ({ project }: TestSpecification): boolean => project.name === 'journeys'
    return spread(
      sorted.filter(isJourney),
      sorted.filter((each) => !isJourney(each)),
    )
  }
}

/** The first of `some`, then some of `others`, and so on, both in their order; the last fifth of `others` is left to fill the end. */
export function spread<T>(some: readonly T[], others: readonly T[]): T[] {
  const distance = Math.ceil((others.length * 0.8) / Math.max(some.length, 1))
  const rest = [...others]
  return [...some.flatMap((each) => [each, ...rest.splice(0, distance)]), ...rest]
}
