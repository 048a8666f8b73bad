/**
 * Whose work is being done: from where a request comes into a process, through everything it awaits, to its end. Log lines and spans say it
 * without being told. What the work itself rests on (deadlines, callers, keys) is passed in the open, never through here.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { field } from './names.ts'
import type { TraceContext } from './trace-context.ts'

/** One piece of work of this process: a request, or a round of its own. What becomes known later is added by `note`. */
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
  /** Of the span that is open now; of the trace alone where it is not recorded. */
  readonly trace: TraceContext
}

const storage = new AsyncLocalStorage<Scope | undefined>()

export const currentScope = (): Scope | undefined => storage.getStore()

export const runInScope = <T>(scope: Scope | undefined, work: () => T): T => storage.run(scope, work)

/** What of it is for nobody in particular, although somebody's work set it off: what becomes of a pooled connection, say. */
export const runDetached =
  <Args extends unknown[], T>(work: (...args: Args) => T): ((...args: Args) => T) =>
  (...args) =>
    storage.run(undefined, () => work(...args))

/** Adds to what is known of the work under way. */
export function annotate(known: Partial<Work>): void {
  const scope = storage.getStore()
  if (scope !== undefined) Object.assign(scope.work, known)
}

/** The fields that every line of the work under way has. */
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
