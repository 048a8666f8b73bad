/**
 * Secrets in the parameters of a run: they were sent as they were previewed, and are not shown again. Whatever is a secret by its name, or
 * stands in a URL as one, is hidden there, and wherever the answer of the other side repeats it. Pure.
 */

export const redacted = '[redacted]'

/** Whole words at the end of a name: `api_key` and `accessToken` are secrets, `monkey` and `token_count` are not. */
const secretName =
  /(?:^|[^a-z])(?:authorization|cookies?|passw(?:or)?d|passphrase|secrets?|tokens?|signature|credentials?|(?:api|access|private|signing|client)[-_]?key)$/i
/** The same in the query of a URL, where such names are shorter. */
const secretQuery = /(?:^|[^a-z])(?:sig|key|auth|code|jwt|hmac)$/i

const isSecret = (name: string): boolean => secretName.test(separated(name))
/** accessToken is access-Token. */
const separated = (name: string): string => name.replace(/([a-z0-9])([A-Z])/g, '$1-$2')

/** Shorter values would be found everywhere. */
const minEchoLength = 6

export interface Redactable {
  params: Record<string, unknown>
  result: Record<string, unknown> | undefined
  error: string | undefined
}

export function redactSecrets({ params, result, error }: Redactable): Redactable {
  const secrets = new Set<string>()
  const shown = hideIn(params, secrets) as Record<string, unknown>
  const echoes = [...secrets].filter(({ length }) => length >= minEchoLength)
  const answer = hideIn(result, new Set()) as Record<string, unknown> | undefined
  if (echoes.length === 0) return { params: shown, result: answer, error }
  return { params: shown, result: hideEchoes(answer, echoes) as typeof answer, error: error && withoutEchoes(error, echoes) }
}

/** A copy; every text that was hidden is added to `secrets`. */
function hideIn(value: unknown, secrets: Set<string>): unknown {
  if (typeof value === 'string') return hideInUrl(value, secrets)
  if (Array.isArray(value)) return value.map((each) => hideIn(each, secrets))
  if (typeof value !== 'object' || value === null) return value
  const hidden = (name: string, each: unknown): unknown => {
    if (!isSecret(name) || each === null || each === '') return hideIn(each, secrets)
    collect(each, secrets)
    return redacted
  }
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, hidden(name, each)]))
}

function collect(value: unknown, secrets: Set<string>): void {
  if (typeof value === 'string') secrets.add(value)
  else if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) collect(each, secrets)
}

/** User, password and secret parameters of a URL; everything else stays as it is written. */
function hideInUrl(text: string, secrets: Set<string>): string {
  if (!/^https?:\/\//i.test(text)) return text
  const withoutUser = text.replace(/^(https?:\/\/)([^/?#]*)@/i, (_, scheme: string, user: string) => {
    for (const part of user.split(':')) secrets.add(part)
    return `${scheme}${redacted}@`
  })
  return withoutUser.replace(/([?&])([^=&#]+)=([^&#]+)/g, (all, mark: string, name: string, value: string) => {
    if (!isSecret(name) && !secretQuery.test(separated(name))) return all
    secrets.add(value)
    return `${mark}${name}=${redacted}`
  })
}

function hideEchoes(value: unknown, echoes: readonly string[]): unknown {
  if (typeof value === 'string') return withoutEchoes(value, echoes)
  if (Array.isArray(value)) return value.map((each) => hideEchoes(each, echoes))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, hideEchoes(each, echoes)]))
}

const withoutEchoes = (text: string, echoes: readonly string[]): string => echoes.reduce((left, each) => left.replaceAll(each, redacted), text)
