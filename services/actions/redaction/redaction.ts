/**
 * Secrets in the parameters of a run: they were sent as previewed, and are not shown again. A value is hidden if its name says that it is a
 * secret, or if it is a secret part of a URL, and wherever the other side's response repeats it. Pure, and linear: both sides may be
 * hostile.
 */
import { isSecretName } from './secret-names.ts'
import { hideInUrl } from './secret-urls.ts'
import { Secrets } from './secrets.ts'

export const redacted = '[redacted]'

/** Parameters and results never nest deeper. */
const deepest = 64

export interface Redactable {
  params: Record<string, unknown>
  result: Record<string, unknown> | undefined
  error: string | undefined
}

type SecretSink = (secret: string) => void

export function redactSecrets({ params, result, error }: Redactable): Redactable {
  const secrets = new Secrets()
  const shown = hideIn(params, (secret) => secret !== redacted && secrets.add(secret)) as Record<string, unknown>
  // Echoes first: a name may begin with one.
  const response = hideIn(hideEchoes(result, secrets), () => undefined) as Record<string, unknown> | undefined
  return { params: shown, result: response, error: error && errorWithout(error, secrets) }
}

/** An error begins with its reason, and may quote the other side. */
function errorWithout(error: string, secrets: Secrets): string {
  if (!secrets.tooMany) return secrets.hide(error, redacted)
  const reason = /^[A-Z][A-Z0-9_]*(?=: )/.exec(error)?.[0]
  return reason === undefined ? redacted : `${reason}: ${redacted}`
}

/** A copy; calls `found` with every text that was hidden. */
function hideIn(value: unknown, found: SecretSink, depth = 0): unknown {
  if (typeof value === 'string') return hideInUrl(value, redacted, found)
  if (typeof value !== 'object' || value === null) return value
  if (depth > deepest) return redacted
  if (Array.isArray(value)) return value.map((each) => hideIn(each, found, depth + 1))
  const entries = Object.entries(value)
  const paired = entries.some(([name, each]) => /^(?:name|key)$/i.test(name) && typeof each === 'string' && isSecretName(each))
  const hidden = ([name, each]: [string, unknown]): [string, unknown] => {
    const isSecret = isSecretName(name) || (paired && name.toLowerCase() === 'value')
    if (!isSecret || each === null || each === '') return [name, hideIn(each, found, depth + 1)]
    collect(each, found, depth)
    return [name, redacted]
  }
  return Object.fromEntries(entries.map(hidden))
}

function collect(value: unknown, found: SecretSink, depth: number): void {
  if (typeof value === 'string' || typeof value === 'number') found(String(value))
  else if (typeof value === 'object' && value !== null && depth <= deepest)
    for (const each of Object.values(value)) collect(each, found, depth + 1)
}

/** With too many secrets to look for, any text may repeat one. */
function hideEchoes(value: unknown, secrets: Secrets, depth = 0): unknown {
  if (typeof value === 'string') return secrets.tooMany ? redacted : secrets.hide(value, redacted)
  if (typeof value === 'number') return secrets.has(String(value)) ? redacted : value
  if (typeof value !== 'object' || value === null) return value
  if (depth > deepest) return redacted
  if (Array.isArray(value)) return value.map((each) => hideEchoes(each, secrets, depth + 1))
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, hideEchoes(each, secrets, depth + 1)]))
}
