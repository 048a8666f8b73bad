/**
 * Memory that a burst of work has left behind is given back once the process rests: V8 collects when it needs room, so a process that
 * nobody calls any longer would keep its garbage for good. Only there under --expose-gc; bench/README.md has the figures.
 */
import { performance } from 'node:perf_hooks'

const lookMs = 1000
/** Looks at rest in a row, so that no pause between two requests counts. */
const restingLooks = 4
/** Below this share of the time the event loop rests. */
const restingShare = 0.1
/** Less work than this leaves nothing worth collecting. */
const leastWorkMs = 200

/** Watches until the process ends. */
export function collectWhenIdle(): void {
  const { gc } = globalThis
  if (gc === undefined) return
  let last = performance.eventLoopUtilization()
  // What the start took does not count: code that is not warm yet is best left alone.
  let worked = 0
  let resting = 0
  setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { active, utilization } = performance.eventLoopUtilization(now, last)
    last = now
    worked += active
    resting = utilization < restingShare ? resting + 1 : 0
    if (resting < restingLooks || worked < leastWorkMs) return
    worked = 0
    // The last resort is the one that gives freed pages back to the system.
    gc({ execution: 'sync', type: 'major', flavor: 'last-resort' })
  }, lookMs).unref()
}
