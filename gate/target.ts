/** The mesh under test: the one of `make up`, from .relay/local.json, or a remote one. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Target {
  gateway: URL
  apiKey: string
  /** The /metrics of each process, by name. */
  metrics: Record<string, URL>
}

/** What keeps the gate from judging; its message is for people. */
export class TargetError extends Error {
  override readonly name = 'TargetError'
}

interface LocalState {
  gateway: string
  gateway_admin?: string
  api_key: string
  services: Record<string, { admin: string }>
}

function address(name: string, text: string): URL {
  const url = URL.parse(text)
  if (url !== null && /^https?:$/.test(url.protocol)) return url
  throw new TargetError(`${name} is ${JSON.stringify(text)}, not a URL with http or https`)
}

/** `host:port`, or a full URL of the metrics. */
export function metricsUrl(name: string, text: string): URL {
  if (/^https?:\/\//.test(text)) return address(name, text)
  return address(name, `http://${text}/metrics`)
}

/** The running mesh of `make up`. Throws a TargetError if none runs or the file is wrong. */
export function localTarget(stateDir: string): Target {
  const file = join(stateDir, 'local.json')
  if (!existsSync(file)) {
    throw new TargetError(`No mesh runs from ${stateDir}. Start one with "make up" in another terminal, or name one elsewhere: see --help.`)
  }
  try {
    const state = JSON.parse(readFileSync(file, 'utf8')) as LocalState
    const processes: Record<string, string> = { gateway: state.gateway_admin || new URL(state.gateway).host }
    for (const [name, { admin }] of Object.entries(state.services)) processes[name] = admin
    if (typeof state.api_key !== 'string' || state.api_key === '') throw new Error('it has no api_key')
    const metrics = Object.fromEntries(Object.entries(processes).map(([name, at]) => [name, metricsUrl(name, at)]))
    return { gateway: address('gateway', state.gateway), apiKey: state.api_key, metrics }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new TargetError(`${file} does not say where a mesh runs: ${why}`, { cause: error })
  }
}

export interface NamedMesh {
  gateway: URL
  apiKey: string
  /** As `actions=10.0.0.7:9090`. */
  admins: readonly string[]
}

/** A remote mesh. The gateway's metrics are read at its public /metrics with the key, unless `gateway=…` is among the admins. */
export function namedTarget({ gateway, apiKey, admins }: NamedMesh): Target {
  const named = admins.map((text): [string, URL] => {
    const at = text.indexOf('=')
    if (at < 1) throw new TargetError(`${JSON.stringify(text)} is not name=host:port`)
    return [text.slice(0, at), metricsUrl(text.slice(0, at), text.slice(at + 1))]
  })
  const own = metricsUrl('gateway', `${gateway.href.replace(/\/$/, '')}/metrics`)
  return { gateway, apiKey, metrics: { gateway: own, ...Object.fromEntries(named) } }
}
