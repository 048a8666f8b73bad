import { type ErrorReader, word } from '../../services/actions/adapters/error-code.ts'

interface GoogleError {
  error?: { errors?: { reason?: unknown }[]; status?: unknown }
}

/** The reason of the first error, or the status: https://developers.google.com/workspace/gmail/api/guides/handle-errors */
export const readGoogleError: ErrorReader = (body) => {
  const { error } = body as GoogleError
  return word(error?.errors?.[0]?.reason) ?? word(error?.status)
}
