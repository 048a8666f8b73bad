/** The sandbox's responses, in the shapes of the providers. */
export interface SandboxResponse {
  status: number
  headers: Record<string, string>
  body: string | Buffer
}

/** A request as the fakes see it. */
export interface SandboxRequest {
  method: string
  url: URL
  headers: Readonly<Record<string, string | string[] | undefined>>
  body: Buffer
}

export const json = (status: number, value: unknown, headers: Record<string, string> = {}): SandboxResponse => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body: JSON.stringify(value),
})

export const empty = (status: number): SandboxResponse => ({ status, headers: {}, body: '' })

export const html = (status: number, body: string): SandboxResponse => ({
  status,
  headers: {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    'cache-control': 'no-store',
  },
  body,
})

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (each) => entities[each]!)

/** RFC 6749, 5.2. */
export const oauthError = (error: string, description: string): SandboxResponse =>
  json(error === 'invalid_client' ? 401 : 400, { error, error_description: description }, { 'cache-control': 'no-store' })

export type Api = 'google' | 'graph'

const googleStatus: Record<number, string> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  409: 'ALREADY_EXISTS',
  429: 'RESOURCE_EXHAUSTED',
  503: 'UNAVAILABLE',
}

/** An error in the words of the API: Google's `error.status` and `errors[].reason`, Graph's `error.code`. */
export function apiError(api: Api, status: number, reason: string, message: string, headers: Record<string, string> = {}): SandboxResponse {
  const google = { code: status, message, status: googleStatus[status] ?? 'INTERNAL', errors: [{ message, domain: 'global', reason }] }
  return json(status, { error: api === 'google' ? google : { code: reason, message } }, headers)
}

/** The JSON object of a body; undefined if it is anything else. */
export function objectOf({ body }: SandboxRequest): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
