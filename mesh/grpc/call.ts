/** One call as its handler sees it, and the context that goes on with the calls it makes. */
import { randomUUID } from 'node:crypto'
import type { Principal } from '../audit/event.ts'
import { meshErrors } from '../errors.ts'
import { currentScope } from '../telemetry/scope.ts'
import { type TraceContext, newTrace } from '../telemetry/trace-context.ts'
import type { Span } from '../telemetry/tracing.ts'
import type { Caller } from './caller.ts'
import type { Method } from './descriptors.ts'

/** What travels from hop to hop. */
export interface Context {
  /** A UUID v4, made where the request came in. */
  readonly requestId: string
  readonly trace: TraceContext
  /** When the outermost caller stops waiting, in epoch milliseconds; undefined for work without one. */
  readonly deadline?: number
  /** Aborted when nobody waits any longer. */
  readonly signal?: AbortSignal
  /** What an outside caller showed; passed on so that the next service sees the same caller. */
  readonly callerToken?: string
  /** The IP address that the outside request came from, as the first process of the mesh saw it. */
  readonly source?: string | undefined
}

export interface Call extends Context {
  readonly method: Method
  /** Where its trace is recorded. */
  readonly span: Span | undefined
  readonly deadline: number
  readonly signal: AbortSignal
  /** The outside caller; undefined when a peer calls for itself. */
  caller: Caller | undefined
  /** What the calling service showed to prove its name, where that has not been found to hold already. */
  readonly peerToken: string | undefined
  /** The calling service, where one proved its name: by its certificate where there is mTLS, else by that token. */
  peer: string | undefined
  /** What a peer says where the outside request came from; of anybody else, and of a peer that says nothing, the connection's address. */
  readonly source: string | undefined
  /** The request as it came. */
  readonly request: Uint8Array
  /** Calls it once: when the response has been sent, or cannot be any longer. At once where that has come already. */
  onEnd(work: () => void): void
  /** Tells the caller something beside the response, e.g. that it is a replay. */
  reply(key: string, value: string): void
}

/** The outside caller of a call. Methods with a permission always have one: the policy saw to it. */
export function callerOf(call: Call): Caller {
  if (call.caller === undefined) throw meshErrors.UNAUTHENTICATED()
  return call.caller
}

/** The same, as the audit log is told of what the call does. */
export function principalOf(call: Call): Principal {
  const { workspace, actor, keyId } = callerOf(call)
  return { workspace, actor, keyId, requestId: call.requestId, traceId: call.trace.traceId, source: call.source ?? '' }
}

/** The context of work that nobody is waiting for. What a request set off goes on with its ids; what a process does by itself has its own. */
export function ownContext(): Context {
  const scope = currentScope()
  return scope === undefined ? { requestId: randomUUID(), trace: newTrace() } : { requestId: scope.work.requestId, trace: scope.trace }
}
