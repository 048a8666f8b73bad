/**
 * Group commit: calls that arrive together run together. Calls within one turn of the event loop, or while the maximum number of rounds is
 * running, form one round. There is no timer: a single call does not wait for others.
 */
import { meshErrors } from './errors.ts'
import { type Scope, currentScope, runInScope } from './telemetry/scope.ts'
import { withSpan } from './telemetry/tracing.ts'

export interface BatchOptions {
  /** Maximum items per round. */
  maxBatchSize: number
  /** Maximum rounds at a time; 2 if unset. */
  concurrency?: number
  /** Maximum items that wait for a round; the next one throws OVERLOADED. 1000 if unset. */
  maxQueueSize?: number
}

interface QueuedItem<Item, Result> {
  item: Item
  /** The scope of the work that it belongs to. */
  scope: Scope | undefined
  resolve: (result: Result) => void
  reject: (error: unknown) => void
}

/**
 * Turns a function of many items into a function of one. `run` returns a result per item, in order; if it throws, every item of the round
 * fails with that error.
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

/** A round is part of the first recorded trace in it, and linked to the others. */
function inScopeOf<T>(group: readonly Pick<QueuedItem<never, never>, 'scope'>[], work: () => Promise<T>): Promise<T> {
  const first = group.find(({ scope }) => scope?.trace.sampled)?.scope
  if (first === undefined || group.length === 1) return runInScope(first ?? group[0]?.scope, work)
  const others = group.flatMap(({ scope }) => (scope !== undefined && scope !== first && scope.trace.sampled ? [scope.trace] : []))
  return runInScope(first, () =>
    withSpan({ name: 'group commit', kind: 'internal', attributes: { 'relay.group_size': group.length }, links: others }, work),
  )
}
