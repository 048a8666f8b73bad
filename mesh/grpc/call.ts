/** One call as its handler sees it, and the context for the calls that it makes. */
import { randomUUID } from 'node:crypto'
import type { Principal } from '../audit/event.ts'
import { meshErrors } from '../errors.ts'
import { currentScope } from '../telemetry/scope.ts'
import { type TraceContext, newTrace } from '../telemetry/trace-context.ts'
import type { Span } from '../telemetry/tracing.ts'
import type { Caller } from './caller.ts'
import type { Method } from './descriptors.ts'

/** The context that travels from hop to hop. */
export interface Context {
  /** A UUID v4, created where the request entered. */
  readonly requestId: string
  readonly trace: TraceContext
  /** When the outermost caller stops waiting, in epoch milliseconds; undefined without a deadline. */
  readonly deadline?: number
  /** Aborted when no caller waits any longer. */
  readonly signal?: AbortSignal
  /** The credentials of the outside caller, passed on so that the next service sees the same caller. */
  readonly callerToken?: string
  /** The IP address of the outside request, as the first process of the mesh saw it. */
  readonly source?: string | undefined
}

export interface Call extends Context {
  readonly method: Method
  /** The trace that it belongs to. */
  readonly span: Span | undefined
  readonly deadline: number
  readonly signal: AbortSignal
  /** The outside caller; undefined if a peer calls for itself. */
  caller: Caller | undefined
  /** The calling service's unverified proof of its name. */
  readonly peerToken: string | undefined
  /** The calling service, if it proved its name: by its certificate over mTLS, otherwise by that token. */
  peer: string | undefined
  /** The source that a peer reports; for any other caller, and a peer that reports none, the connection's address. */
  readonly source: string | undefined
  /** The raw request. */
  readonly request: Uint8Array
  /** Calls it once, when the response has been sent or cannot be sent any more; at once if that has already happened. */
  onEnd(work: () => void): void
  /** Sends the caller metadata beside the response, e.g. that it is a replay. */
  reply(key: string, value: string): void
}

/** The outside caller of a call. The policy ensures that methods with a permission always have one. */
export function callerOf(call: Call): Caller {
  if (call.caller === undefined) throw meshErrors.UNAUTHENTICATED()
  return call.caller
}

/** The same, for the audit events of the call. */
export function principalOf(call: Call): Principal {
  const { workspace, actor, keyId } = callerOf(call)
  return { workspace, actor, keyId, requestId: call.requestId, traceId: call.trace.traceId, source: call.source ?? '' }
}

/**
 * The context of work that no caller waits for. Work that a request started keeps its ids; work that the process starts itself has its own.
 */
export function ownContext(): Context {
  const scope = currentScope()
  return scope === undefined ? { requestId: randomUUID(), trace: newTrace() } : { requestId: scope.work.requestId, trace: scope.trace }
}
