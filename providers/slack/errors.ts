/** Slack answers rejections with 200 as well: `{"ok": false, "error": "…"}` (https://docs.slack.dev/apis/web-api#responses). */
import { type ErrorReader, word } from '../../services/actions/adapters/error-code.ts'

export const readSlackError: ErrorReader = ({ error }) => word(error)

/** The corresponding HTTP status. Those with 500 do not tell what was done. */
const statuses: Readonly<Record<string, number>> = {
  not_authed: 401,
  invalid_auth: 401,
  token_expired: 401,
  token_revoked: 401,
  account_inactive: 401,
  missing_scope: 403,
  not_in_channel: 403,
  restricted_action: 403,
  is_archived: 403,
  channel_not_found: 404,
  thread_not_found: 404,
  ratelimited: 429,
  rate_limited: 429,
  fatal_error: 500,
  internal_error: 500,
  request_timeout: 500,
  service_unavailable: 500,
}

export function readSlackRefusal(body: unknown): { status: number; code: string | undefined } | undefined {
  const { ok, error } = (typeof body === 'object' && body !== null ? body : {}) as { ok?: unknown; error?: unknown }
  if (ok !== false) return undefined
  const code = word(error)
  return { status: code === undefined ? 500 : Object.hasOwn(statuses, code) ? statuses[code]! : 400, code }
}
