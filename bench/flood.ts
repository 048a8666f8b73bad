/**
 * Many previews of 1 MB at once, or readers of a run of 0.9 MB without pause, from one workspace, while another workspace lists and
 * previews: the memory of each process, and the effect on the others. A rejection is a valid response here, so it is counted and not an
 * error. Exits with code 1 if a limit of the promise was exceeded.
 */
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { setTimeout as pause } from 'node:timers/promises'
import { type MessagePort, Worker, parentPort, workerData } from 'node:worker_threads'
import { Client, Pool } from 'undici'
import { startMesh } from '../deploy/local/mesh.ts'
import { percentile } from '../measure/statistics.ts'
import { cacheFolder, unreachedLimits } from './bench-mesh.ts'

const usage = `node bench/flood.ts [options]
  --at-once <number>    previews at a time; 580 where unset
  --waves <number>      how often that is repeated; 5 where unset
  --reads <number>      how often each of 25 readers reads; 40 where unset
  --json <file>         leaves the figures there`

/** The bodies: one long text, or many small members, which take far more memory than they have bytes. */
const bodies = {
  text: () => ({ text: 'x'.repeat(1_000_000) }),
  items: () => ({ items: Array.from({ length: 4_500 }, (_, index) => ({ id: index, name: `item ${index}`, note: 'n'.repeat(170) })) }),
} as const

const preview = (body: unknown): string =>
  JSON.stringify({ action: 'webhook.save', params: { url: 'https://example.com/hook', method: 'POST', body } })

/** The maximum resident memory since the last reset, in bytes (proc_pid_status(5)). */
const peakResident = (pid: number): number => Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]) * 1024
/** proc_pid_clear_refs(5): 5 resets the maximum to the current value. */
const forgetMost = (pid: number): void => writeFileSync(`/proc/${pid}/clear_refs`, '5')

/** The promise: memory of each process in MB, and latency of the other workspace in milliseconds. */
const promised = { peakMB: 300, p99: 1000 }
const readers = 25

interface Figures {
  load: string
  statuses: Record<string, number>
  elapsedMs: number
  /** Maximum time of a rejection, in milliseconds. */
  refusalMs: number
  peakMB: Record<string, number>
  /** `failures` by status or error. */
  others: { requests: number; failures: Record<string, number>; p50: number; p99: number; max: number }
  /** The promises that were not kept; empty if all were. */
  exceeded: string[]
}

/** Sends one request and counts its status. Returns it. */
type Count = (pool: Pool, options: Parameters<Pool['request']>[0]) => Promise<string>
/** The load of the hostile workspace. */
type Load = (count: Count) => Promise<void>

const previews =
  (url: string, headers: Record<string, string>, ask: { shape: keyof typeof bodies; atOnce: number; waves: number }): Load =>
  async (count) => {
    const body = preview(bodies[ask.shape]())
    for (let wave = 0; wave < ask.waves; wave += 1) {
      const pool = new Pool(url, { connections: ask.atOnce, headersTimeout: 120_000 })
      await Promise.all(Array.from({ length: ask.atOnce }, () => count(pool, { method: 'POST', path: '/actions/preview', headers, body })))
      await pool.destroy()
    }
  }

/** A rejected reader waits for as long as Retry-After says. */
const reads =
  (url: string, headers: Record<string, string>, ask: { runId: string; times: number }): Load =>
  async (count) => {
    const pool = new Pool(url, { connections: readers, headersTimeout: 120_000 })
    const read = async () => {
      for (let time = 0; time < ask.times; time += 1) {
        const status = await count(pool, { method: 'GET', path: `/actions/runs/${ask.runId}`, headers })
        if (status.startsWith('503')) await pause(1000)
      }
    }
    await Promise.all(Array.from({ length: readers }, read))
    await pool.destroy()
  }

/** A run of 0.9 MB. It fails, because its host does not exist, and keeps its parameters. */
async function largeRun(url: string, headers: Record<string, string>): Promise<string> {
  const params = { url: 'https://relay.invalid/hook', method: 'POST', body: { text: 'x'.repeat(900_000) } }
  const post = async (path: string, body: object) => {
    const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) })
    if (!response.ok) throw new Error(`POST ${path} was answered with ${response.status}: ${await response.text()}`)
    return (await response.json()) as { preview_id: string; run_id: string }
  }
  const { preview_id } = await post('/actions/preview', { action: 'webhook.save', params })
  return (await post('/actions/execute', { preview_id })).run_id
}

async function flood(name: string, load: Load, url: string, other: string, pids: Record<string, number>): Promise<Figures> {
  Object.values(pids).forEach(forgetMost)
  const isOver = new Int32Array(new SharedArrayBuffer(4))
  // On a thread of its own: it must see what others see, not how busy this thread is.
  const others = new Worker(import.meta.filename, { workerData: { url, key: other, isOver } })
  await once(others, 'message')
  const statuses: Record<string, number> = {}
  let refusalMs = 0
  const count: Count = async (pool, options) => {
    const sent = performance.now()
    const status = await pool.request(options).then(
      async ({ statusCode, body }) => {
        const text = await body.text()
        return statusCode === 200 ? '200' : `${statusCode} ${/"reason":"(\w+)"/.exec(text)?.[1]}`
      },
      (error: NodeJS.ErrnoException) => error.code ?? error.message,
    )
    statuses[status] = (statuses[status] ?? 0) + 1
    if (status.startsWith('503')) refusalMs = Math.max(refusalMs, performance.now() - sent)
    return status
  }
  const start = performance.now()
  await load(count)
  const elapsedMs = performance.now() - start
  Atomics.store(isOver, 0, 1)
  const [{ latencies, failures }] = (await once(others, 'message')) as [{ latencies: number[]; failures: Record<string, number> }]
  const sorted = Float64Array.from(latencies).sort()
  const peakMB = Object.fromEntries(Object.entries(pids).map(([process, pid]) => [process, Math.round(peakResident(pid) / 1e6)]))
  const p99 = Math.round(percentile(sorted, 0.99))
  const exceeded = Object.entries(peakMB).flatMap(([process, peak]) => (peak < promised.peakMB ? [] : [`${process}: ${peak} MB`]))
  if (p99 >= promised.p99) exceeded.push(`others: P99 of ${p99} ms`)
  for (const [status, times] of Object.entries(failures)) exceeded.push(`others: ${times} times ${status}`)
  for (const [status, times] of Object.entries(statuses))
    if (status !== '200' && status !== '503 OVERLOADED') exceeded.push(`hostile: ${times} times ${status}`)
  return {
    load: name,
    statuses,
    elapsedMs: Math.round(elapsedMs),
    refusalMs: Math.round(refusalMs),
    peakMB,
    others: {
      requests: sorted.length,
      failures,
      p50: Math.round(percentile(sorted, 0.5)),
      p99,
      max: Math.round(sorted.at(-1) ?? Number.NaN),
    },
    exceeded,
  }
}

interface Use {
  url: string
  key: string
  isOver: Int32Array
}

/** Lists and previews in turn until `isOver` is set. Reports when it starts, and at the end how long each request took. */
async function useMeanwhile(port: MessagePort, { url, key, isOver }: Use): Promise<void> {
  const client = new Client(url)
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` }
  const body = preview({ test: 'hello' })
  const ask = async (count: number) => {
    const response = await (count % 2 === 0
      ? client.request({ method: 'GET', path: '/actions', headers })
      : client.request({ method: 'POST', path: '/actions/preview', headers, body }))
    await response.body.text()
    return String(response.statusCode)
  }
  await ask(0)
  await ask(1)
  port.postMessage('begun')
  const latencies: number[] = []
  const failures: Record<string, number> = {}
  for (let count = 0; Atomics.load(isOver, 0) === 0; count += 1) {
    const start = performance.now()
    const status = await ask(count).catch((error: NodeJS.ErrnoException) => error.code ?? error.message)
    if (status !== '200') failures[status] = (failures[status] ?? 0) + 1
    latencies.push(performance.now() - start)
  }
  await client.close()
  port.postMessage({ latencies, failures })
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      'at-once': { type: 'string', default: '580' },
      waves: { type: 'string', default: '5' },
      reads: { type: 'string', default: '40' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(usage)
  const folder = join(cacheFolder, `flood-${process.pid}`)
  mkdirSync(join(folder, 'logs'), { recursive: true })
  const mesh = await startMesh({ folder, env: unreachedLimits, log: () => undefined, onFailure: (error) => console.error(error.message) })
  try {
    const other = await mesh.createKey({ workspace: 'other', actor: 'other', role: 'operator' })
    const services = Object.entries(mesh.services).map(([name, { pid }]) => [name, pid] as const)
    const pids = Object.fromEntries([['gateway', mesh.process('gateway').pid] as const, ...services])
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${mesh.apiKey}` }
    const waves = { atOnce: Number(values['at-once']), waves: Number(values.waves) }
    const runId = await largeRun(mesh.gateway, headers)
    const loads = {
      'previews of one text': previews(mesh.gateway, headers, { shape: 'text', ...waves }),
      'previews of many items': previews(mesh.gateway, headers, { shape: 'items', ...waves }),
      reads: reads(mesh.gateway, headers, { runId, times: Number(values.reads) }),
    }
    const figures: Figures[] = []
    for (const [name, load] of Object.entries(loads)) {
      const found = await flood(name, load, mesh.gateway, other, pids)
      console.log(JSON.stringify(found, undefined, 2))
      figures.push(found)
    }
    if (figures.some(({ exceeded }) => exceeded.length > 0)) process.exitCode = 1
    if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(figures, undefined, 2))
  } finally {
    await mesh.stop()
    if (mesh.postgres !== undefined) rmSync(dirname(mesh.postgres.data), { recursive: true, force: true })
    rmSync(folder, { recursive: true, force: true })
  }
}

await (parentPort === null ? main() : useMeanwhile(parentPort, workerData as Use))
