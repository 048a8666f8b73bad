/**
 * Memory that work has left behind is given back once the process rests: V8 collects when it needs room, so a process that nobody calls any
 * longer would keep its garbage for good. A collection stops the process for some tens of milliseconds, and a light load rests between any
 * two requests: so collections are kept so far apart that nobody notices them. Only there under --expose-gc; bench/README.md has the figures.
 */
import { performance } from 'node:perf_hooks'

const pollIntervalMs = 1000
/** Below this share of the time between two looks the event loop rests, from that one on it is busy. */
const restingShare = 0.1
const busyShare = 0.5
/** Looks at rest in a row, so that no pause between two requests counts. */
const restingLooks = 4
/** Less work than this leaves nothing worth collecting, in looks. */
const minWork = 0.2
/** From one collection to the next at least, in looks: after a burst, and otherwise. */
const apart = { burst: 10, light: 60 }

/** Whether to collect, asked at every look with the share of the time since the last one that the event loop worked. Pure. */
export function whenToCollect(): (share: number) => boolean {
  let burst = false
  let resting = 0
  let worked = 0
  let since: number = apart.light
  return (share) => {
    since += 1
    worked += share
    burst ||= share >= busyShare
    resting = share < restingShare ? resting + 1 : 0
    if (resting < restingLooks || worked < minWork || since < (burst ? apart.burst : apart.light)) return false
    burst = false
    worked = 0
    since = 0
    return true
  }
}

/** Watches until the process ends. */
export function collectWhenIdle(): void {
  const { gc } = globalThis
  if (gc === undefined) return
  let last = performance.eventLoopUtilization()
  // What the start took does not count: code that is not warm yet is best left alone.
  const isDue = whenToCollect()
  setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, last)
    last = now
    // The last resort is the one that gives freed pages back to the system.
    if (isDue(utilization)) gc({ execution: 'sync', type: 'major', flavor: 'last-resort' })
  }, pollIntervalMs).unref()
}
