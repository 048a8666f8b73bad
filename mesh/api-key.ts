/**
 * API keys as text: `rly_<env>_<30 random characters><6 characters of checksum>`. The prefix lets people and secret scanners know one when
 * they see it, and the checksum tells a mistyped or made-up key from a real one without asking anybody.
 */
import { randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** The environment that a key is of, as the key says it. A key of one is refused in every other. */
export type KeyEnv = 'local' | 'test' | 'dev' | 'prod'

const envs: ReadonlyMap<string, KeyEnv> = new Map([
  ['local', 'local'],
  ['test', 'test'],
  ['development', 'dev'],
  ['production', 'prod'],
])

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** 30 characters of 62 are 178 bits: not to be guessed. */
const secretLength = 30
/** 62⁶ > 2³²: every CRC32 has exactly one spelling. */
const checksumLength = 6
const pattern = /^rly_(local|test|dev|prod)_[0-9A-Za-z]{36}$/

/** What keys of RELAY_ENV say. Throws for a name that RELAY_ENV does not take. */
export function keyEnvOf(environment: string): KeyEnv {
  const env = envs.get(environment)
  if (env === undefined) throw new RangeError(`There are no keys for the environment ${JSON.stringify(environment)}`)
  return env
}

/**
 * A new key.
 *
 * @param random a whole number in [0, limit), each as likely as the others; each character is drawn on its own, so that none is likelier
 * than another, as `byte % 62` would make some
 */
export function newApiKey(env: KeyEnv, random: (limit: number) => number = (limit) => randomInt(limit)): string {
  const secret = Array.from({ length: secretLength }, () => alphabet[random(alphabet.length)]!).join('')
  const body = `rly_${env}_${secret}`
  return body + checksumOf(body)
}

/** Which environment the key is of; undefined for what is no key or has a wrong checksum. It says nothing of whether the key exists. */
export function parseApiKey(text: string): { env: KeyEnv } | undefined {
  const match = pattern.exec(text)
  if (match === null) return undefined
  const body = text.slice(0, -checksumLength)
  return checksumOf(body) === text.slice(-checksumLength) ? { env: match[1] as KeyEnv } : undefined
}

/** The CRC32 (ISO 3309) of the text as six digits of base 62, zeros in front. It is public arithmetic: equal or not is no secret. */
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
 * How long after the end of an API key it is remembered, in milliseconds: longer than any work that a key began and that is checked against
 * it later. That is a token (five minutes) and the connecting of an account (20 minutes, services/oauth/connect/ticket.ts).
 */
export const keyEndRetentionMs = 30 * 60_000
