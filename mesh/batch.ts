/**
 * Group commit: calls that arrive together are done together. What comes within one turn of the event loop, or while as many rounds as are
 * allowed are under way, goes in one round. There is no timer: a call that is alone does not wait for company.
 */
import { meshErrors } from './errors.ts'
import { type Scope, currentScope, runInScope } from './telemetry/scope.ts'
import { withSpan } from './telemetry/tracing.ts'

export interface BatchOptions {
  /** Items in one round at the most. */
  maxBatchSize: number
  /** Rounds under way at the same time at the most; 2 when unset. */
  concurrency?: number
  /** Items that may wait for a round; the next one throws OVERLOADED. 1000 when unset. */
  maxQueueSize?: number
}

interface QueuedItem<Item, Result> {
  item: Item
  /** Whose it is. */
  scope: Scope | undefined
  resolve: (result: Result) => void
  reject: (error: unknown) => void
}

/**
 * Makes a function of one item of one of many. `run` returns a result for each item, in their order; where it throws, every item of the
 * round has that error.
 */
export function batch<Item, Result>(
  run: (items: readonly Item[]) => Promise<readonly Result[]>,
  options: BatchOptions,
): (item: Item) => Promise<Result> {
  const { maxBatchSize, concurrency = 2, maxQueueSize = 1000 } = options
  const waiting: QueuedItem<Item, Result>[] = []
  let inFlight = 0
  let scheduled = false

  const round = async (group: QueuedItem<Item, Result>[]): Promise<void> => {
    inFlight += 1
    try {
      const results = await inScopeOf(group, () => run(group.map(({ item }) => item)))
      if (results.length !== group.length) throw new Error(`${results.length} results for ${group.length} items`)
      group.forEach(({ resolve }, index) => resolve(results[index]!))
    } catch (error) {
      for (const { reject } of group) reject(error)
    }
    inFlight -= 1
    start()
  }

  const start = (): void => {
    scheduled = false
    while (waiting.length > 0 && inFlight < concurrency) void round(waiting.splice(0, maxBatchSize))
  }

  return (item) => {
    if (waiting.length >= maxQueueSize) return Promise.reject(meshErrors.OVERLOADED())
    return new Promise((resolve, reject) => {
      waiting.push({ item, scope: currentScope(), resolve, reject })
      if (scheduled || inFlight >= concurrency) return
      scheduled = true
      setImmediate(start)
    })
  }
}

/** A round is part of the first trace in it that is recorded, and linked to the others. */
function inScopeOf<T>(group: readonly Pick<QueuedItem<never, never>, 'scope'>[], work: () => Promise<T>): Promise<T> {
  const first = group.find(({ scope }) => scope?.trace.sampled)?.scope
  if (first === undefined || group.length === 1) return runInScope(first ?? group[0]?.scope, work)
  const others = group.flatMap(({ scope }) => (scope !== undefined && scope !== first && scope.trace.sampled ? [scope.trace] : []))
  return runInScope(first, () =>
    withSpan({ name: 'group commit', kind: 'internal', attributes: { 'relay.group_size': group.length }, links: others }, work),
  )
}
