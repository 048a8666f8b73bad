/**
 * The load: a fixed number of arrivals per second, whatever happens to earlier ones (an open loop). Each latency counts from when its
 * request was due: a slow response delays no other request, and no wait is left out (no "coordinated omission").
 */
import { setTimeout as pause } from 'node:timers/promises'
import { percentile } from '../measure/statistics.ts'
import type { MeasuredResponse } from './measurements.ts'
import { type Kind, kindOf } from './workload.ts'
import type { Reply, Request, UserStep } from './virtual-user.ts'

export interface LoadParts {
  step: (kind: Kind) => UserStep | undefined
  /** Rejects if there is no response. */
  send: (request: Request) => Promise<Reply>
  ratePerSecond: number
  ms: number
  /** The number of the first arrival: the warm-up and the rest are one sequence. */
  first: number
  /** Ends the load early. */
  signal: AbortSignal
  /** Called for every response. */
  onAnswer?: (response: MeasuredResponse, reply: Reply | undefined) => void
}

export interface LoadResult {
  answers: MeasuredResponse[]
  starved: number
  lateP99Ms: number
  /** The number of the next arrival. */
  next: number
}

/** With more in flight, requests are not sent: no client has so many pending. They count as lost. */
const maxInFlight = 2000

/** Ends when every request is answered or given up, or at once when `signal` aborts. */
export async function load({ step, send, ratePerSecond, ms, first, signal, onAnswer = () => undefined }: LoadParts): Promise<LoadResult> {
  const responses: MeasuredResponse[] = []
  const late: number[] = []
  const inFlight = new Set<Promise<void>>()
  const count = Math.round((ms / 1000) * ratePerSecond)
  const start = performance.now()
  let starved = 0

  const answered = (kind: Kind, asked: UserStep, dueMs: number, reply: Reply | undefined): void => {
    const response = { kind, outcome: asked.read(reply), atMs: dueMs, latencyMs: performance.now() - start - dueMs }
    responses.push(response)
    onAnswer(response, reply)
  }
  const arrive = (arrival: number, dueMs: number): void => {
    const kind = kindOf(first + arrival)
    const asked = step(kind)
    if (asked === undefined) {
      starved += 1
      return
    }
    if (inFlight.size >= maxInFlight) return answered(kind, asked, dueMs, undefined)
    late.push(performance.now() - start - dueMs)
    const sent: Promise<void> = send(asked.request)
      .then(
        (reply) => answered(kind, asked, dueMs, reply),
        () => answered(kind, asked, dueMs, undefined),
      )
      .finally(() => inFlight.delete(sent))
    inFlight.add(sent)
  }

  for (let arrival = 0; arrival < count && !signal.aborted; arrival += 1) {
    const dueMs = (arrival * 1000) / ratePerSecond
    const wait = start + dueMs - performance.now()
    // Timers never fire early, and mostly at most a millisecond late.
    if (wait > 0) await pause(wait, undefined, { signal }).catch(() => undefined)
    if (!signal.aborted) arrive(arrival, dueMs)
  }
  // An early end does not wait for responses.
  const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  if (!signal.aborted) await Promise.race([Promise.all(inFlight), ended])
  return { answers: responses, starved, lateP99Ms: percentile(Float64Array.from(late).sort(), 0.99), next: first + count }
}
