/** The options of the gate, from flags and the environment. */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type ListenAddress, list, listenAddress, optional, readConfig, secret, text, url } from '#mesh/config.ts'
import type { GateOptions } from './gate.ts'
import { type MetricsSource, prometheus, scrapes } from './metrics-source.ts'
import { type Target, TargetError, localTarget, namedTarget } from './target.ts'

export const usage = `make gate, or node gate/run.ts [options]: loads a running mesh as people use it, and says whether it is good enough.
  --seconds <n>            how long it is judged (180); in less than half a minute there is too little to go by
  --rate <n>               requests a second, of one workspace (8): stay below its rate limit
  --warm-up <seconds>      the same load before that, which does not count (10)
  --settle <seconds>       how long second deliveries are waited for, at the end (5)
  --json <file>            leaves the result there
  --baseline <file>        the CPU times to compare with (gate/baseline.json)
  --save-baseline          writes that file from this run, if it passes everything else
  --no-baseline            judges without CPU times
  --prometheus <url>       reads the mesh's metrics there instead of at each process
  --prometheus-match <m>   with further label matchers, such as env="staging"
  --receiver-listen <a>    where the gate takes webhooks, as host:port (127.0.0.1, any port)
  --receiver-url <url>     where the mesh finds that, if elsewhere
  --receiver-delay <ms>    how long the receiver takes to answer (0)
The mesh is that of make up (RELAY_HOME is its folder), or a named one: GATE_URL, GATE_API_KEY, and
GATE_ADMINS with the admin port of each process, as actions=host:port,access=host:port,…
Ends with 0 for a pass, 1 for a failure, 2 where it could not judge. (make itself ends with 2 for both.)`

const spec = {
  stateDir: text('RELAY_HOME', 'The folder of the mesh of make up', { default: join(import.meta.dirname, '../.relay') }),
  gateway: optional(url('GATE_URL', 'The gateway of a mesh elsewhere', ['http', 'https'])),
  apiKey: optional(secret('GATE_API_KEY', 'An API key there that may preview and execute')),
  admins: list('GATE_ADMINS', 'The admin ports there, as name=host:port'),
}

export interface RunOptions {
  target: Target
  source: MetricsSource
  gate: Omit<GateOptions, 'signal' | 'onProgress'>
  baseline: 'compare' | 'save' | 'skip'
  baselineFile: string
  json: string | undefined
}

function number(name: string, value: string, min: number, max: number): number {
  const parsed = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN
  if (!(parsed >= min && parsed <= max)) throw new Error(`--${name} is ${JSON.stringify(value)}, not a number from ${min} to ${max}`)
  return parsed
}

/** Webhooks go to plain paths below it. */
function receiverUrl(value: string | undefined): string | undefined {
  if (value === undefined) return undefined
  const parsed = URL.parse(value)
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) throw new Error('--receiver-url is not a URL with http or https')
  return parsed.href.replace(/\/$/, '')
}

function targetOf({ stateDir, gateway, apiKey, admins }: ReturnType<typeof readSpec>, throughPrometheus: boolean): Target {
  if (gateway === undefined) return localTarget(stateDir)
  if (apiKey === undefined) throw new TargetError('GATE_URL is set, but not GATE_API_KEY.')
  if (admins.length === 0 && !throughPrometheus) {
    throw new TargetError('GATE_URL is set, but neither GATE_ADMINS nor --prometheus: without metrics memory and CPU cannot be judged.')
  }
  return namedTarget({ gateway, apiKey: apiKey.reveal(), admins })
}

const readSpec = (env: NodeJS.ProcessEnv) => readConfig(spec, env)

/** Undefined if only help is requested. Throws an Error with the cause, or a TargetError if there is no mesh. */
export function readOptions(args: readonly string[], env: NodeJS.ProcessEnv): RunOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: 'string', default: '180' },
      rate: { type: 'string', default: '8' },
      'warm-up': { type: 'string', default: '10' },
      settle: { type: 'string', default: '5' },
      json: { type: 'string' },
      baseline: { type: 'string', default: join(import.meta.dirname, 'baseline.json') },
      'save-baseline': { type: 'boolean', default: false },
      'no-baseline': { type: 'boolean', default: false },
      prometheus: { type: 'string' },
      'prometheus-match': { type: 'string', default: '' },
      'receiver-listen': { type: 'string', default: '127.0.0.1:0' },
      'receiver-url': { type: 'string' },
      'receiver-delay': { type: 'string', default: '0' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  if (values['save-baseline'] && values['no-baseline']) throw new Error('--save-baseline and --no-baseline exclude each other')
  const seconds = (name: 'seconds' | 'warm-up' | 'settle', min: number): number => number(name, values[name], min, 86_400) * 1000
  const gate = {
    runMs: seconds('seconds', 1),
    warmUpMs: seconds('warm-up', 0),
    settleTimeoutMs: seconds('settle', 0),
    ratePerSecond: number('rate', values.rate, 0.1, 1000),
    receiver: {
      listen: listen(values['receiver-listen']),
      url: receiverUrl(values['receiver-url']),
      delayMs: number('receiver-delay', values['receiver-delay'], 0, 60_000),
    },
  }
  const prometheusUrl = values.prometheus === undefined ? undefined : URL.parse(values.prometheus)
  if (prometheusUrl === null) throw new Error('--prometheus is not a URL')
  const target = targetOf(readSpec(env), prometheusUrl !== undefined)
  const match = values['prometheus-match']
  const source =
    prometheusUrl === undefined ? scrapes(target.metrics, target) : prometheus({ url: prometheusUrl, match, timeoutMs: 120_000 })
  return {
    target,
    source,
    // A short run gets enough snapshots to be judged.
    gate: { ...gate, pollIntervalMs: Math.min(2000, gate.runMs / 8) },
    baseline: values['no-baseline'] ? 'skip' : values['save-baseline'] ? 'save' : 'compare',
    baselineFile: values.baseline,
    json: values.json,
  }
}

function listen(value: string): ListenAddress {
  return listenAddress('--receiver-listen', 'Where the gate takes webhooks').parse(value)
}
