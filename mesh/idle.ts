/**
 * Returns unused memory when the process is idle. V8 collects when it needs space, so a process without calls would keep its garbage for
 * ever. A collection stops the process for some tens of milliseconds, and a light load is idle between any two requests: so collections are
 * rare enough that no caller notices. Only with --expose-gc; bench/README.md has the figures.
 */
import { performance } from 'node:perf_hooks'

const pollIntervalMs = 1000
/** Below this share of busy time between two samples the event loop is idle; from that one on it is busy. */
const restingShare = 0.1
const busyShare = 0.5
/** Idle samples in a row, so that a pause between two requests does not count. */
const restingLooks = 4
/** Less work than this leaves nothing worth collecting, in samples. */
const minWork = 0.2
/** Minimum samples between collections: after a burst, and otherwise. */
const apart = { burst: 10, light: 60 }

/** Whether to collect, called at every sample with the busy share since the last one. Pure. */
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

/** Runs until the process ends. */
export function collectWhenIdle(): void {
  const { gc } = globalThis
  if (gc === undefined) return
  let last = performance.eventLoopUtilization()
  // The start does not count: code that is not warm yet is best left alone.
  const isDue = whenToCollect()
  setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, last)
    last = now
    // Only the last-resort collection returns freed pages to the system.
    if (isDue(utilization)) gc({ execution: 'sync', type: 'major', flavor: 'last-resort' })
  }, pollIntervalMs).unref()
}
