/** `make gate`: decides whether the running mesh is good enough to release. See README.md here. */
import { ConfigError } from '#mesh/config.ts'
import { readOptions, usage } from './options.ts'
import { codes, runGate } from './program.ts'
import { TargetError } from './target.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)

async function main(): Promise<number> {
  const giveUp = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => giveUp.abort(new Error('stopped')))
  try {
    const options = readOptions(process.argv.slice(2), process.env)
    if (options !== undefined) return await runGate(options, giveUp.signal, say)
    say(usage)
    return 0
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    if (giveUp.signal.aborted) say('stopped: nothing was judged')
    else if (error instanceof TargetError || error instanceof ConfigError) say(message)
    else say(`It could not judge: ${message}. --help shows the options.`)
    return codes.unknown
  }
}

process.exitCode = await main()
