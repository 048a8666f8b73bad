/** `make bench`: the mesh beside the minimum cost of its shape, on this machine, now. See README.md here. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join, relative } from 'node:path'
import { measureFsync } from './disk.ts'
import { type Options, readOptions, usage } from './options.ts'
import { measureHop } from './hop.ts'
import { compareLists, measureExecutes, measureRss, measureTraced } from './parts.ts'
import { profilable, profileWhile, summarise, writeProfile } from './profile.ts'
import { accessReport, executeReport, listReport, rssReport, tracingReport } from './report.ts'
import { BenchMesh, cacheFolder } from './bench-mesh.ts'

const say = (line = ''): void => void process.stdout.write(`${line}\n`)
/** One line that is overwritten, on a terminal. */
const progress = (text: string): void => void (process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`))

async function measure(stage: BenchMesh, options: Options): Promise<void> {
  const results: Record<string, unknown> = {
    at: new Date().toISOString(),
    node: process.version,
    machine: `${availableParallelism()} × ${cpus()[0]?.model.trim()}`,
    load: loadavg(),
  }
  say(
    `Node ${process.version}, ${String(results.machine)}, load average ${loadavg()
      .map((load) => load.toFixed(2))
      .join(' ')}`,
  )
  const show = (text: string): void => {
    progress('')
    say(`\n${text}`)
  }
  // Memory first: the processes are new only once.
  if (options.parts.includes('rss')) {
    progress('memory: 1,000 requests and a rest')
    const resident = (results.rss = await measureRss(stage, options))
    show(rssReport(resident))
  }
  if (options.parts.includes('list')) {
    const compared = (results.list = await compareLists(stage, { base: stage.baseline, ours: stage.ours }, options, progress))
    show(listReport(compared))
  }
  if (options.parts.includes('execute')) {
    const fsyncMs = (results.fsyncMs = measureFsync(cacheFolder))
    const executed = (results.execute = await measureExecutes(stage, options, progress))
    show(executeReport(executed, fsyncMs))
  }
  if (options.parts.includes('access')) {
    progress('access: a hop')
    const hop = await measureHop()
    const { open, guarded } = await stage.startTwins()
    const compared = await compareLists(stage, { base: open, ours: guarded }, options, progress)
    results.access = { hop, compared }
    show(accessReport(compared, hop))
  }
  if (options.parts.includes('tracing')) {
    const traced = (results.tracing = await measureTraced(stage, options, progress))
    show(tracingReport(traced))
  }
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`)
}

const profileMs = 5000

async function profile(stage: BenchMesh, name: string, options: Options): Promise<void> {
  const subject = [stage.baseline, stage.ours].find(({ processes }) => name !== 'postgres' && name in processes)
  if (subject === undefined) throw new Error(`there is no process "${name}" to profile`)
  const kind = options.parts.length === 1 && options.parts[0] === 'execute' ? 'execute' : 'list'
  if (kind === 'execute' && subject.name === 'baseline') throw new Error('the baseline does not execute')
  await stage.run(subject, { kind, concurrency: 32, ms: options.warmUpMs })
  let cpuUs = Number.NaN
  const seen = await profileWhile(subject.processes[name]!, stage.logOf(name), async () => {
    cpuUs = (await stage.run(subject, { kind, concurrency: 32, ms: profileMs })).cpuUsBy[name]!
  })
  const file = join(cacheFolder, `${name}-${kind}.cpuprofile`)
  writeProfile(file, seen)
  say(`\n${name}, ${kind} at concurrency 32; ${relative(process.cwd(), file)}\n${summarise(seen, cpuUs)}`)
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2))
  if (options === undefined) {
    say(usage)
    return 0
  }
  mkdirSync(cacheFolder, { recursive: true })
  const giveUp = new AbortController()
  const stage = new BenchMesh(giveUp.signal)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => giveUp.abort(new Error('stopped')))
  try {
    await stage.start(progress, options.profile === undefined ? {} : profilable)
    await (options.profile === undefined ? measure(stage, options) : profile(stage, options.profile, options))
    return 0
  } catch (error) {
    progress('')
    say(giveUp.signal.aborted ? 'stopped' : error instanceof Error ? error.message : String(error))
    return giveUp.signal.aborted ? 130 : 1
  } finally {
    await stage.stop()
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  say(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
  process.exitCode = 1
}
