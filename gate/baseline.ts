/** The CPU time of a good release, to compare the next ones with. Pure except for reading and writing it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import type { Measurements } from './measurements.ts'
import { mixVersion } from './workload.ts'

export interface Baseline {
  /** RFC 3339. */
  at: string
  /** The machine of the gate, which is that of a local mesh as well. */
  machine: string
  node: string
  seconds: number
  ratePerSecond: number
  mixVersion: number
  /** Of all processes of the mesh together, in microseconds. */
  cpuUsPerRequest: number
  /** By process. */
  cpuUsBy: Record<string, number>
}

export const machineName = (): string => `${availableParallelism()} × ${cpus()[0]?.model.trim() ?? 'unknown'}`

const usEach = (seconds: number, requests: number): number => (seconds * 1e6) / requests

/** User and system time of all processes per request, in microseconds; undefined if it is unknown for one of them. */
export function cpuUsPerRequest({ mesh: { processes, requests } }: Measurements): number | undefined {
  if (requests === undefined || requests <= 0 || processes.length === 0) return undefined
  let seconds = 0
  for (const { cpuSeconds } of processes) {
    if (cpuSeconds === undefined) return undefined
    seconds += cpuSeconds
  }
  return usEach(seconds, requests)
}

/** Why figures cannot be compared with the baseline's. With fewer requests, background work weighs more. */
export function incomparable(baseline: Baseline, { ratePerSecond }: Pick<Measurements, 'ratePerSecond'>): string | undefined {
  if (baseline.mixVersion !== mixVersion) return 'the baseline is of another workload: save it again'
  const near = Math.abs(baseline.ratePerSecond - ratePerSecond) <= baseline.ratePerSecond * 0.1
  return near ? undefined : `the baseline is of ${baseline.ratePerSecond} requests/s`
}

/** Throws if CPU time could not be measured. */
export function baselineOf(measured: Measurements, now: Date): Baseline {
  const each = cpuUsPerRequest(measured)
  const { processes, requests } = measured.mesh
  if (each === undefined || requests === undefined) throw new Error('the CPU time could not be measured: there is nothing to save')
  return {
    at: now.toISOString(),
    machine: machineName(),
    node: process.version,
    seconds: Math.round(measured.runMs / 1000),
    ratePerSecond: measured.ratePerSecond,
    mixVersion,
    cpuUsPerRequest: Math.round(each),
    cpuUsBy: Object.fromEntries(processes.map(({ name, cpuSeconds = 0 }) => [name, Math.round(usEach(cpuSeconds, requests))])),
  }
}

/** Undefined if there is none. Throws if the file is not a baseline. */
export function readBaseline(path: string): Baseline | undefined {
  if (!existsSync(path)) return undefined
  const found = JSON.parse(readFileSync(path, 'utf8')) as Partial<Baseline> | null
  const numbers = [found?.cpuUsPerRequest, found?.ratePerSecond, found?.mixVersion]
  const usable = numbers.every((value) => typeof value === 'number' && Number.isFinite(value) && value > 0)
  if (!usable) throw new Error(`${path} is not a baseline of the gate`)
  return found as Baseline
}

export const writeBaseline = (path: string, baseline: Baseline): void => writeFileSync(path, `${JSON.stringify(baseline, null, 2)}\n`)
