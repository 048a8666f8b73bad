/**
 * API keys as text: `rly_<env>_<30 random characters><6 characters of checksum>`. People and secret scanners recognise the prefix. The
 * checksum tells a mistyped or invented key from a real one without a request.
 */
import { randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** The environment in a key. A key of one environment is rejected in every other. */
export type KeyEnv = 'local' | 'test' | 'dev' | 'prod'

const envs: ReadonlyMap<string, KeyEnv> = new Map([
  ['local', 'local'],
  ['test', 'test'],
  ['development', 'dev'],
  ['production', 'prod'],
])

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** 30 characters of 62 are 178 bits, which cannot be guessed. */
const secretLength = 30
/** 62⁶ > 2³²: every CRC32 has exactly one spelling. */
const checksumLength = 6
const pattern = /^rly_(local|test|dev|prod)_[0-9A-Za-z]{36}$/

/** The environment in keys for a RELAY_ENV. Throws for an unknown RELAY_ENV. */
export function keyEnvOf(environment: string): KeyEnv {
  const env = envs.get(environment)
  if (env === undefined) throw new RangeError(`There are no keys for the environment ${JSON.stringify(environment)}`)
  return env
}

/**
 * A new key.
 *
 * @param random returns an integer in [0, limit), uniformly; each character is drawn separately, because `byte % 62` would make some more
 * likely
 */
export function newApiKey(env: KeyEnv, random: (limit: number) => number = (limit) => randomInt(limit)): string {
  const secret = Array.from({ length: secretLength }, () => alphabet[random(alphabet.length)]!).join('')
  const body = `rly_${env}_${secret}`
  return body + checksumOf(body)
}

/** The environment of a key; undefined for text that is not a key or has a wrong checksum. It does not say whether the key exists. */
export function parseApiKey(text: string): { env: KeyEnv } | undefined {
  const match = pattern.exec(text)
  if (match === null) return undefined
  const body = text.slice(0, -checksumLength)
  return checksumOf(body) === text.slice(-checksumLength) ? { env: match[1] as KeyEnv } : undefined
}

/**
 * The CRC32 (ISO 3309) of the text as six digits of base 62, with leading zeros. It is public arithmetic, so comparing it needs no constant
 * time.
 */
function checksumOf(body: string): string {
  let rest = crc32(body)
  let digits = ''
  for (let place = 0; place < checksumLength; place += 1) {
    digits = alphabet[rest % alphabet.length]! + digits
    rest = Math.floor(rest / alphabet.length)
  }
  return digits
}

/**
 * How long the end of an API key is remembered, in milliseconds: longer than any work that a key began and that is checked against it
 * later. That is a token (five minutes) and connecting an account (20 minutes, services/oauth/connect/ticket.ts).
 */
export const keyEndRetentionMs = 30 * 60_000
