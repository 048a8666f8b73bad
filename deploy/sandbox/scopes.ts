/** The scopes that each API requires. */
import { apiError, type SandboxResponse, type Api } from './http.ts'

interface Rule {
  method: RegExp
  path: RegExp
  anyOf: readonly string[]
}

const gmail = (name: string): string => `https://www.googleapis.com/auth/gmail.${name}`
const mail = ['https://mail.google.com/', gmail('modify')]
const calendar = ['https://www.googleapis.com/auth/calendar', 'https://www.googleapis.com/auth/calendar.events']

/**
 * As far as they are used: https://developers.google.com/workspace/gmail/api/reference/rest,
 * https://learn.microsoft.com/graph/permissions-reference
 */
const rules: readonly Rule[] = [
  { method: /^POST$/, path: /^(\/upload)?\/gmail\/v1\/users\/[^/]+\/messages\/send$/, anyOf: [...mail, gmail('compose'), gmail('send')] },
  { method: /^(POST|PUT|DELETE)$/, path: /^(\/upload)?\/gmail\/v1\/users\/[^/]+\/drafts(\/|$)/, anyOf: [...mail, gmail('compose')] },
  { method: /^GET$/, path: /^\/gmail\/v1\/users\/[^/]+\/drafts(\/|$)/, anyOf: [...mail, gmail('compose'), gmail('readonly')] },
  { method: /^GET$/, path: /^\/gmail\/v1\/users\/[^/]+\/(messages|threads)(\/|$)/, anyOf: [...mail, gmail('readonly'), gmail('metadata')] },
  { method: /^GET$/, path: /^\/calendar\/v3\//, anyOf: [...calendar, ...calendar.map((scope) => `${scope}.readonly`)] },
  { method: /^(POST|PATCH|PUT|DELETE)$/, path: /^\/calendar\/v3\/calendars\/[^/]+\/events(\/|$)/, anyOf: calendar },
  { method: /^POST$/, path: /^\/v1\.0\/me\/(messages\/[^/]+\/send|sendMail)$/, anyOf: ['Mail.Send'] },
  { method: /^(POST|PATCH|DELETE)$/, path: /^\/v1\.0\/me\/messages(\/|$)/, anyOf: ['Mail.ReadWrite'] },
  { method: /^GET$/, path: /^\/v1\.0\/me\/(messages|mailFolders)(\/|$)/, anyOf: ['Mail.ReadWrite', 'Mail.Read'] },
  { method: /^GET$/, path: /^\/v1\.0\/me\/(events|calendars?|calendarView)(\/|$)/, anyOf: ['Calendars.ReadWrite', 'Calendars.Read'] },
  { method: /^(POST|PATCH|DELETE)$/, path: /^\/v1\.0\/me\/(events|calendars?)(\/|$)/, anyOf: ['Calendars.ReadWrite'] },
  { method: /^GET$/, path: /^\/v1\.0\/me$/, anyOf: ['User.Read', 'openid', 'profile'] },
]

const bare = (scope: string): string => scope.replace(/^https:\/\/graph\.microsoft\.com\//, '')

const metadata = gmail('metadata')
/** With this scope alone, Gmail shows labels and headers, and does not search. */
const isMetadata = (query: URLSearchParams): boolean => ['metadata', 'minimal'].includes(query.get('format') ?? 'full') && !query.has('q')

/** The rejection if a token's scopes do not allow a call, or undefined. A call without a rule is not in the sandbox: 404. */
export function refusalOf(api: Api, method: string, url: URL, scopes: readonly string[]): SandboxResponse | undefined {
  const path = url.pathname
  const rule = rules.find((each) => each.method.test(method) && each.path.test(path))
  if (rule === undefined) return apiError(api, 404, api === 'google' ? 'notFound' : 'ResourceNotFound', 'The sandbox has nothing here.')
  const granted = new Set(scopes.map(bare))
  const allowing = rule.anyOf.filter((scope) => granted.has(scope))
  const one = /\/(messages|threads)\/[^/]+$/.test(path)
  if (allowing.some((scope) => scope !== metadata || !one || isMetadata(url.searchParams))) return undefined
  return api === 'google'
    ? apiError(api, 403, 'insufficientPermissions', 'Request had insufficient authentication scopes.')
    : apiError(api, 403, 'ErrorAccessDenied', 'Access is denied. Check credentials and try again.')
}
