/** W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/): the header that carries a trace from process to process. */
import { randomFillSync } from 'node:crypto'

export interface TraceContext {
  /** 32 lower-case hex digits. */
  traceId: string
  /** The span that the next hop is a child of: 16 lower-case hex digits. */
  spanId: string
  /** Whether this trace is recorded. Decided where it begins; every other service follows. */
  sampled: boolean
}

const pattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** Undefined for anything that is not a valid traceparent; version 00 has exactly four parts, later ones may have more. */
export function parseTraceparent(header: string | undefined): TraceContext | undefined {
  const match = header === undefined ? null : pattern.exec(header)
  if (match === null) return undefined
  const [, version, traceId, spanId, flags, rest] = match
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined
  if (/^0+$/.test(traceId!) || /^0+$/.test(spanId!)) return undefined
  return { traceId: traceId!, spanId: spanId!, sampled: (Number.parseInt(flags!, 16) & 1) === 1 }
}

export const formatTraceparent = (trace: TraceContext): string => `00-${trace.traceId}-${trace.spanId}-${trace.sampled ? '01' : '00'}`

/** Random bytes are fetched for many traces at a time: one fetch costs many times as much as the rest of starting a trace. */
const pool = Buffer.alloc(24 * 128)
let used = pool.length

function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += bytes
  return pool.toString('hex', used - bytes, used)
}

export const newSpanId = (): string => randomHex(8)

/** A new trace. */
export function newTrace(sampled = false): TraceContext {
  const id = randomHex(24)
  return { traceId: id.slice(0, 32), spanId: id.slice(32), sampled }
}
