/** From options to an exit code: measures, judges, and writes what was requested. */
import { writeFileSync } from 'node:fs'
import { baselineOf, machineName, readBaseline, writeBaseline } from './baseline.ts'
import { measure } from './gate.ts'
import { judge, limits, overall } from './criteria.ts'
import type { RunOptions } from './options.ts'
import { progressLine, report, result } from './report.ts'

/** How the program ends. */
export const codes = { pass: 0, fail: 1, unknown: 2 } as const

/** Throws if nothing could be judged. */
export async function runGate(options: RunOptions, signal: AbortSignal, say: (line: string) => void, held = limits): Promise<0 | 1 | 2> {
  const { target, source, gate, json, baselineFile } = options
  // Read first, so that a broken file is found before the load, not after it.
  const baseline = options.baseline === 'compare' ? readBaseline(baselineFile) : undefined
  const { runMs, warmUpMs, ratePerSecond } = gate
  say(`${target.gateway.origin}: ${ratePerSecond} requests/s for ${runMs / 1000} s, after ${warmUpMs / 1000} s of warm-up`)
  const measured = await measure(target, source, { ...gate, signal, onProgress: (progress) => say(progressLine(progress, runMs)) })

  const results = judge(measured.measurements, options.baseline === 'compare' ? baseline : 'skipped', held)
  say(`\n${report(results, measured.unexpectedResponses)}`)
  if (baseline !== undefined && (baseline.machine !== machineName() || baseline.node !== process.version)) {
    say(`\nThe baseline is of another machine or Node (${baseline.machine}, ${baseline.node}): take the CPU times with a grain of salt.`)
  }
  if (options.baseline === 'compare' && baseline === undefined) {
    say(`\nThere is no ${baselineFile}: --save-baseline makes one from a release that is known to be good, --no-baseline judges without.`)
  }
  const verdict = overall(results)
  if (options.baseline === 'save') {
    if (verdict === 'pass') writeBaseline(baselineFile, baselineOf(measured.measurements, new Date()))
    say(verdict === 'pass' ? `\nSaved as ${baselineFile}.` : '\nNot saved: only a run that passes is something to hold others to.')
  }
  if (json !== undefined) {
    const about = { at: new Date().toISOString(), gateway: target.gateway.origin, baseline: baseline ?? null }
    writeFileSync(json, `${JSON.stringify(result(results, measured, about), null, 2)}\n`)
  }
  return codes[verdict]
}
