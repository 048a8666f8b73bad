import { type ErrorReader, word } from '../../services/actions/adapters/error-code.ts'

/** https://learn.microsoft.com/graph/errors */
export const readGraphError: ErrorReader = (body) => word((body as { error?: { code?: unknown } }).error?.code)
