/** What a log line must not show: values under names of secrets, passwords in URLs, and what drivers attach to their errors. */

const hidden = '[secret]'
const tooDeep = '[deep]'
/** Like pino's own limits: logging a socket by mistake costs no more than this. */
const deepest = 5
const widest = 100
/** Names of fields that are never written, at any depth; values of Secret hide themselves as well. */
const secretName =
  /(?:authorization|bearer|cookie|password|passwd|pwd|passcode|passphrase|secret|token|otp|signature|credentials?|(?:access|api|client|private|signing|static)[-_]?key|connection[-_]?string)$/i

/** The same value, safe to write. Objects are copied, never changed. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth > deepest) return tooDeep
  if (value instanceof Error) return describeError(value, depth)
  if (value instanceof URL) return withoutPassword(value)
  // Dates, bytes, secrets: they define how they are written.
  if ('toJSON' in value && typeof value.toJSON === 'function') return value
  if (Array.isArray(value)) return value.slice(0, widest).map((each) => redact(each, depth + 1))
  return redactFields(value as Record<string, unknown>, depth)
}

/** The fields of one line. */
export function redactFields(fields: Record<string, unknown>, depth = 0): Record<string, unknown> {
  const copy: Record<string, unknown> = {}
  for (const name of Object.keys(fields).slice(0, widest)) {
    const value = fields[name]
    copy[name] = secretName.test(name) && value !== undefined ? hidden : redact(value, depth + 1)
  }
  return copy
}

/** An error's own message and stack, without the statements, rows, commands and headers that drivers add. */
function describeError(error: Error, depth: number): Record<string, unknown> {
  const { code, reason, errors } = error as { code?: unknown; reason?: unknown; errors?: unknown }
  return {
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(error.cause === undefined ? {} : { cause: redact(error.cause, depth + 1) }),
    ...(Array.isArray(errors) ? { errors: redact(errors, depth + 1) } : {}),
  }
}

function withoutPassword(url: URL): string {
  if (url.password === '') return url.href
  const copy = new URL(url)
  copy.password = 'secret'
  return copy.href
}
