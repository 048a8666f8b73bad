/**
 * Environment → one frozen, typed object; the only reader of process.env. A process declares its variables where they are documented:
 *
 *   export const config = () => readConfig({
 *     databaseUrl: secret('DATABASE_URL', 'Postgres, as postgres://user:password@host:port/database'),
 *     leaseMs: duration('RUN_LEASE', 'How long a run is held without a heartbeat', { default: '15s' }),
 *   })
 *
 * Everything that is wrong is said at once, by variable; `--help` prints the variables.
 */

export interface Variable<T> {
  name: string
  doc: string
  /** Shown by --help: the meaning of an unset variable. */
  fallback: string
  /** The text that an unset variable stands for, if any. */
  default?: string | undefined
  /** The value must not be printed, nor be in a file that others can read. */
  secret?: true
  parse: (text: string | undefined) => T
  /** For a listener: what travels there (mesh/plaintext.ts). */
  carries?: CarriedSecret
}

/**
 * `tokens`: tokens of callers and services, over gRPC; `keys`: API keys of callers, over HTTP; `nothing`: no credential and no data of a
 * caller.
 */
export type CarriedSecret = 'tokens' | 'keys' | 'nothing'

// `any` is the only way to say "a variable of whatever type" here.
// oxlint-disable-next-line typescript/no-explicit-any
export type Spec = Record<string, Variable<any>>
export type Config<S extends Spec> = Readonly<{ [K in keyof S]: S[K] extends Variable<infer T> ? T : never }>

export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** Reads every variable of the spec, or throws one ConfigError that lists all that is wrong. */
export function readConfig<S extends Spec>(spec: S, env: NodeJS.ProcessEnv = process.env): Config<S> {
  const problems: string[] = []
  const values: Record<string, unknown> = {}
  for (const [key, variable] of Object.entries(spec)) {
    const raw = env[variable.name]
    try {
      // An empty variable is an unset one: that is what compose files and shells make of it.
      values[key] = variable.parse(raw === '' ? undefined : raw)
    } catch (error) {
      problems.push(`${variable.name} ${error instanceof Error ? error.message : String(error)} (${variable.doc})`)
    }
  }
  if (problems.length > 0) throw new ConfigError(`The configuration is not usable:\n  ${problems.join('\n  ')}`)
  return Object.freeze(values) as Config<S>
}

/** The variables of a spec as text for --help. */
export function describeConfig(spec: Spec): string {
  return Object.values(spec)
    .map((variable) => `${variable.name}\n    ${variable.doc} (${variable.fallback})`)
    .join('\n')
}

interface Options {
  default?: string
}

function variable<T>(name: string, doc: string, options: Options | undefined, parse: (text: string) => T): Variable<T> {
  return {
    name,
    doc,
    fallback: options?.default === undefined ? 'required' : `default ${options.default === '' ? 'empty' : options.default}`,
    default: options?.default,
    parse: (text) => {
      const value = text ?? options?.default
      if (value === undefined) throw new Error('is not set')
      return parse(value)
    },
  }
}

/** The same variable, undefined if unset. */
export function optional<T>(inner: Variable<T>): Variable<T | undefined> {
  return { ...inner, fallback: 'optional', parse: (text) => (text === undefined ? undefined : inner.parse(text)) }
}

export const text = (name: string, doc: string, options?: Options): Variable<string> => variable(name, doc, options, (value) => value)

/** Text that must never be printed: a wrapper, so that logs and JSON show only "[secret]". */
export const secret = (name: string, doc: string, options?: Options): Variable<Secret> => ({
  ...variable(name, doc, options, (value) => new Secret(value)),
  secret: true,
})

export class Secret {
  readonly #value: string
  constructor(value: string) {
    this.#value = value
  }
  reveal(): string {
    return this.#value
  }
  toString(): string {
    return '[secret]'
  }
  toJSON(): string {
    return '[secret]'
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]'
  }
}

export const integer = (name: string, doc: string, options?: Options & { min?: number; max?: number }): Variable<number> =>
  variable(name, doc, options, (value) => {
    const [min, max] = [options?.min ?? 0, options?.max ?? Number.MAX_SAFE_INTEGER]
    if (!/^-?\d+$/.test(value)) throw new Error(`is ${JSON.stringify(value)}, not a whole number`)
    const number = Number(value)
    if (number < min || number > max) throw new Error(`is ${value}, not between ${min} and ${max}`)
    return number
  })

export const flag = (name: string, doc: string, options: Options = { default: 'false' }): Variable<boolean> =>
  variable(name, doc, options, (value) => {
    if (value === 'true' || value === '1') return true
    if (value === 'false' || value === '0') return false
    throw new Error(`is ${JSON.stringify(value)}, neither true nor false`)
  })

export const choice = <const T extends string>(name: string, doc: string, choices: readonly T[], options?: Options): Variable<T> =>
  variable(name, doc, options, (value) => {
    const found = choices.find((each) => each === value)
    if (found === undefined) throw new Error(`is ${JSON.stringify(value)}, not one of ${choices.join(', ')}`)
    return found
  })

/** A duration as `250ms`, `30s`, `5m`, `24h`; the value is in milliseconds. Timers take at most 2³¹ − 1 ms, about 24 days. */
export const duration = (name: string, doc: string, options?: Options & { minMs?: number; maxMs?: number }): Variable<number> =>
  variable(name, doc, options, (value) => {
    const [min, max] = [options?.minMs ?? 0, options?.maxMs ?? Number.MAX_SAFE_INTEGER]
    const match = /^(\d+)(ms|s|m|h)$/.exec(value)
    if (match === null) throw new Error(`is ${JSON.stringify(value)}, not a duration like 250ms, 30s, 5m or 24h`)
    const ms = Number(match[1]) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as 'ms' | 's' | 'm' | 'h']
    if (ms < min || ms > max) throw new Error(`is ${value}, not between ${min} ms and ${max} ms`)
    return ms
  })

/** A comma-separated list, without empty items. */
export const list = (name: string, doc: string, options: Options = { default: '' }): Variable<readonly string[]> =>
  variable(name, doc, options, (value) =>
    Object.freeze(
      value
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== ''),
    ),
  )

/** A URL with one of the given schemes. */
export const url = (name: string, doc: string, schemes: readonly string[], options?: Options): Variable<URL> =>
  variable(name, doc, options, (value) => {
    const parsed = URL.parse(value)
    // The value may contain a password, so the message does not repeat it.
    if (parsed === null) throw new Error('is not a URL')
    if (!schemes.includes(parsed.protocol.slice(0, -1))) throw new Error(`is not a URL with ${schemes.join(' or ')}`)
    return parsed
  })

export interface ListenAddress {
  host: string
  port: number
}

/** `host:port`, with brackets around an IPv6 address. */
export const formatAddress = ({ host, port }: ListenAddress): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** The address of a listener, as `host:port`; port 0 is any free one. `carries` defaults to `keys`. */
export const listenAddress = (name: string, doc: string, options: Options & { carries?: CarriedSecret } = {}): Variable<ListenAddress> => ({
  ...variable(name, doc, options, (value) => {
    const match = /^(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})$/.exec(value)
    if (match === null || Number(match[2]) > 65535) throw new Error(`is ${JSON.stringify(value)}, not host:port`)
    return Object.freeze({ host: match[1]!.replace(/^\[|\]$/g, ''), port: Number(match[2]) })
  }),
  carries: options.carries ?? 'keys',
})
