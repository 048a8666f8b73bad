/** The code of a provider's error: one word, never its sentence. */
export type ErrorReader = (body: Readonly<Record<string, unknown>>) => string | undefined

/** A text of the other side, if it is one word. */
export const word = (value: unknown): string | undefined => (typeof value === 'string' && /^\w{1,64}$/.test(value) ? value : undefined)

/** The code in the body of an error; undefined if there is none, or the body is not a JSON object. */
export function errorCodeIn(text: string, read: ErrorReader): string | undefined {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null && !Array.isArray(body) ? read(body as Record<string, unknown>) : undefined
  } catch {
    // Not a code.
    return undefined
  }
}
