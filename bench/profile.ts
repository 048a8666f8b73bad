/** Where the CPU time of a running process goes: V8's profiler over the inspector, and a summary. */
import { statSync, writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { readFrom, until } from '../deploy/local/processes/process.ts'

/** The flags of a process with an inspector: several can have one, each on a free port. */
export const profilable = { NODE_OPTIONS: '--inspect-port=127.0.0.1:0' }

const intervalUs = 250

/** https://chromedevtools.github.io/devtools-protocol/tot/Profiler/#type-Profile */
export interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  samples: number[]
  timeDeltas: number[]
}

/** Profiles a process while `work` runs. `log` is the file of its stderr, which says where its inspector listens. */
export async function profileWhile(pid: number, log: string, work: () => Promise<unknown>): Promise<Profile> {
  const start = statSync(log).size
  process.kill(pid, 'SIGUSR1')
  let address: string | undefined
  await until(() => (address = /Debugger listening on (ws:\S+)/.exec(readFrom(log, start))?.[1]) !== undefined, 5000)
  if (address === undefined) throw new Error(`process ${pid} opened no inspector`)
  const inspector = await connect(address)
  try {
    await inspector.send('Profiler.enable')
    await inspector.send('Profiler.setSamplingInterval', { interval: intervalUs })
    await inspector.send('Profiler.start')
    await work()
    return ((await inspector.send('Profiler.stop')) as { profile: Profile }).profile
  } finally {
    inspector.close()
  }
}

async function connect(address: string) {
  const socket = new WebSocket(address)
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  const fail = () => {
    for (const { reject } of waiting.values()) reject(new Error('the inspector went away'))
  }
  socket.addEventListener('close', fail)
  socket.addEventListener('message', ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id: number; result: unknown }
    waiting.get(id)?.resolve(result)
    waiting.delete(id)
  })
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error(`no inspector at ${address}`)))
  })
  let last = 0
  return {
    send(method: string, params: Record<string, unknown> = {}): Promise<unknown> {
      last += 1
      const response = Promise.withResolvers<unknown>()
      waiting.set(last, response)
      socket.send(JSON.stringify({ id: last, method, params }))
      return response.promise
    },
    close: () => socket.close(),
  }
}

/** Writes the profile for Chrome's DevTools or another viewer. */
export const writeProfile = (path: string, profile: Profile): void => writeFileSync(path, JSON.stringify(profile))

/**
 * The functions and the places with the most self time: as shares of the time in which the main thread was not idle, and as shares of
 * `cpuUs`, the process's CPU time per round. (The profiler's own times are wall-clock times, which also count while others have the CPU.)
 */
export function summarise(profile: Profile, cpuUs: number, max = 30): string {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]))
  const [functions, places] = [new Map<string, number>(), new Map<string, number>()]
  const add = (sums: Map<string, number>, name: string, us: number) => sums.set(name, (sums.get(name) ?? 0) + us)
  let total = 0
  profile.samples.forEach((id, index) => {
    const { functionName, url, lineNumber } = frames.get(id)!
    const us = profile.timeDeltas[index]!
    if (functionName === '(idle)') return
    total += us
    const place = placeOf(url)
    add(functions, url === '' ? functionName : `${functionName || '(anonymous)'} ${shortened(url)}:${lineNumber + 1}`, us)
    add(places, url === '' ? functionName : place, us)
  })
  const top = (sums: Map<string, number>) =>
    [...sums]
      .sort(([, one], [, other]) => other - one)
      .slice(0, max)
      .map(([name, us]) => [name, us / total] as const)
      .map(([name, share]) => `  ${(share * cpuUs).toFixed(1).padStart(7)} µs  ${(share * 100).toFixed(1).padStart(5)} %  ${name}`)
      .join('\n')
  return [`${cpuUs.toFixed(0)} µs of CPU a round. Self time by place:`, top(places), 'Self time by function:', top(functions)].join('\n')
}

/** The package, Node's own module, or our file. */
function placeOf(url: string): string {
  const inPackage = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1]
  if (inPackage !== undefined) return inPackage
  return url.startsWith('node:') ? url.split('/').slice(0, 3).join('/') : shortened(url)
}

function shortened(url: string): string {
  if (!url.startsWith('file:')) return url
  return relative(`${import.meta.dirname}/..`, new URL(url).pathname).replace('node_modules/', '')
}
