import { type ErrorReader, word } from '../../services/actions/adapters/error-code.ts'

/** `errors[0].code` of an invalid request (https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api), if any. */
export const readGithubError: ErrorReader = (body) => word((body as { errors?: { code?: unknown }[] }).errors?.[0]?.code)
