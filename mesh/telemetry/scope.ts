/**
 * The work in progress: from where a request enters a process, through everything it awaits, to its end. Log lines and spans get its ids
 * from here. What the work itself depends on (deadlines, callers, keys) is passed explicitly, never through here.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { field } from './names.ts'
import type { TraceContext } from './trace-context.ts'

/** One piece of work of this process: a request, or a round of its own. `note` adds what becomes known later. */
export interface Work {
  requestId: string
  workspace?: string | undefined
  runId?: string | undefined
  /** Whether it was answered from earlier work. */
  replayed?: boolean
}

export interface Scope {
  /** One object for all of the work, however deep its spans. */
  readonly work: Work
  /** Of the current span; of the trace alone if it is not recorded. */
  readonly trace: TraceContext
}

const storage = new AsyncLocalStorage<Scope | undefined>()

export const currentScope = (): Scope | undefined => storage.getStore()

export const runInScope = <T>(scope: Scope | undefined, work: () => T): T => storage.run(scope, work)

/** Runs what belongs to no work in particular, although some work started it, e.g. the events of a pooled connection. */
export const runDetached =
  <Args extends unknown[], T>(work: (...args: Args) => T): ((...args: Args) => T) =>
  (...args) =>
    storage.run(undefined, () => work(...args))

/** Adds to what is known of the current work. */
export function annotate(known: Partial<Work>): void {
  const scope = storage.getStore()
  if (scope !== undefined) Object.assign(scope.work, known)
}

/** The fields of every log line of the current work. */
export function scopeFields(): Record<string, unknown> {
  const scope = storage.getStore()
  if (scope === undefined) return {}
  const { work, trace } = scope
  return {
    [field.requestId]: work.requestId,
    [field.traceId]: trace.traceId,
    [field.spanId]: trace.spanId,
    [field.workspace]: work.workspace,
    [field.runId]: work.runId,
  }
}
