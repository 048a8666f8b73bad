/**
 * Many previews of 1 MB at once, from one workspace, while another workspace lists and previews: what it costs the memory of each process,
 * and what the others notice of it. A refusal is a proper answer here, so it is counted and not an error.
 */
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { type MessagePort, Worker, parentPort, workerData } from 'node:worker_threads'
import { Client, Pool } from 'undici'
import { startMesh } from '../deploy/local/mesh.ts'
import { percentile } from '../measure/statistics.ts'
import { cacheFolder, unreachedLimits } from './bench-mesh.ts'

const usage = `node bench/flood.ts [options]
  --at-once <number>    previews at a time; 580 where unset
  --waves <number>      how often that is repeated; 5 where unset
  --json <file>         leaves the figures there`

/** What a body is made of: one long text, or many small members, which take far more memory than they have bytes. */
const bodies = {
  text: () => ({ text: 'x'.repeat(1_000_000) }),
  items: () => ({ items: Array.from({ length: 4_500 }, (_, index) => ({ id: index, name: `item ${index}`, note: 'n'.repeat(170) })) }),
} as const

const preview = (body: unknown): string =>
  JSON.stringify({ action: 'webhook.save', params: { url: 'https://example.com/hook', method: 'POST', body } })

/** The most resident memory since it was last forgotten, in bytes (proc_pid_status(5)). */
const peakResident = (pid: number): number => Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]) * 1024
/** proc_pid_clear_refs(5): 5 sets the most back to what is resident now. */
const forgetMost = (pid: number): void => writeFileSync(`/proc/${pid}/clear_refs`, '5')

interface Figures {
  shape: string
  statuses: Record<string, number>
  elapsedMs: number
  /** The longest that a refusal took, in milliseconds. */
  refusalMs: number
  peakMB: Record<string, number>
  others: { requests: number; failed: number; p50: number; p99: number; max: number }
}

async function flood(
  url: string,
  keys: { hostile: string; other: string },
  pids: Record<string, number>,
  ask: { shape: keyof typeof bodies; atOnce: number; waves: number },
): Promise<Figures> {
  const text = preview(bodies[ask.shape]())
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${keys.hostile}` }
  Object.values(pids).forEach(forgetMost)
  const isOver = new Int32Array(new SharedArrayBuffer(4))
  // On a thread of its own: it is to see what others see, and not how busy this one is.
  const others = new Worker(import.meta.filename, { workerData: { url, key: keys.other, isOver } })
  await once(others, 'message')
  const statuses: Record<string, number> = {}
  let refusalMs = 0
  const start = performance.now()
  for (let wave = 0; wave < ask.waves; wave += 1) {
    const pool = new Pool(url, { connections: ask.atOnce, headersTimeout: 120_000 })
    await Promise.all(
      Array.from({ length: ask.atOnce }, async () => {
        const sent = performance.now()
        const status = await pool.request({ method: 'POST', path: '/actions/preview', headers, body: text }).then(
          async ({ statusCode, body }) => {
            const text = await body.text()
            return statusCode === 200 ? '200' : `${statusCode} ${/"reason":"(\w+)"/.exec(text)?.[1]}`
          },
          (error: NodeJS.ErrnoException) => error.code ?? error.message,
        )
        statuses[status] = (statuses[status] ?? 0) + 1
        if (status.startsWith('503')) refusalMs = Math.max(refusalMs, performance.now() - sent)
      }),
    )
    await pool.destroy()
  }
  const elapsedMs = performance.now() - start
  Atomics.store(isOver, 0, 1)
  const [{ latencies, failed }] = (await once(others, 'message')) as [{ latencies: number[]; failed: number }]
  const sorted = Float64Array.from(latencies).sort()
  return {
    shape: ask.shape,
    statuses,
    elapsedMs: Math.round(elapsedMs),
    refusalMs: Math.round(refusalMs),
    peakMB: Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, Math.round(peakResident(pid) / 1e6)])),
    others: {
      requests: sorted.length,
      failed,
      p50: Math.round(percentile(sorted, 0.5)),
      p99: Math.round(percentile(sorted, 0.99)),
      max: Math.round(sorted.at(-1) ?? Number.NaN),
    },
  }
}

interface Use {
  url: string
  key: string
  isOver: Int32Array
}

/** Lists and previews in turn until it is told to end; says when it begins, and in the end how long each took. */
async function useMeanwhile(port: MessagePort, { url, key, isOver }: Use): Promise<void> {
  const client = new Client(url)
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` }
  const body = preview({ test: 'hello' })
  const ask = async (count: number) => {
    const response = await (count % 2 === 0
      ? client.request({ method: 'GET', path: '/actions', headers })
      : client.request({ method: 'POST', path: '/actions/preview', headers, body }))
    await response.body.text()
    return response.statusCode === 200
  }
  await ask(0)
  await ask(1)
  port.postMessage('begun')
  const latencies: number[] = []
  let failed = 0
  for (let count = 0; Atomics.load(isOver, 0) === 0; count += 1) {
    const start = performance.now()
    if (!(await ask(count))) failed += 1
    latencies.push(performance.now() - start)
  }
  await client.close()
  port.postMessage({ latencies, failed })
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      'at-once': { type: 'string', default: '580' },
      waves: { type: 'string', default: '5' },
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
    const keys = { hostile: mesh.apiKey, other }
    const figures: Figures[] = []
    for (const shape of ['text', 'items'] as const) {
      const found = await flood(mesh.gateway, keys, pids, { shape, atOnce: Number(values['at-once']), waves: Number(values.waves) })
      console.log(JSON.stringify(found, undefined, 2))
      figures.push(found)
    }
    if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(figures, undefined, 2))
  } finally {
    await mesh.stop()
    if (mesh.postgres !== undefined) rmSync(dirname(mesh.postgres.data), { recursive: true, force: true })
    rmSync(folder, { recursive: true, force: true })
  }
}

await (parentPort === null ? main() : useMeanwhile(parentPort, workerData as Use))
