import { type ErrorReader, word } from '../../services/actions/adapters/error-code.ts'

/** `errors[0].code`, of a request that is not valid (https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api); else none. */
export const readGithubError: ErrorReader = (body) => word((body as { errors?: { code?: unknown }[] }).errors?.[0]?.code)
