/** The code of an error as a provider writes it: one word, never their sentence. */
export type ErrorReader = (body: Readonly<Record<string, unknown>>) => string | undefined

/** What another side wrote, if it is one word. */
export const word = (value: unknown): string | undefined => (typeof value === 'string' && /^\w{1,64}$/.test(value) ? value : undefined)

/** The code in the body of an error; undefined where there is none, or no JSON object. */
export function errorCodeIn(text: string, read: ErrorReader): string | undefined {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null && !Array.isArray(body) ? read(body as Record<string, unknown>) : undefined
  } catch {
    // Whatever it is, it is no code.
    return undefined
  }
}
