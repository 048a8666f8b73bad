/**
 * Slack workspaces (https://docs.slack.dev/authentication/installing-with-oauth): a connection is the app's bot in one workspace. Its token
 * does not expire unless the app turns token rotation on. README.md explains each scope.
 */
import { type JsonObject, oauthFacet } from '../oauth.ts'

export const oauth = oauthFacet({
  variables: {},
  server(_, sandbox) {
    const at = (path: string) => new URL(sandbox ? `${sandbox.origin}/slack${path}` : `https://slack.com${path}`)
    return {
      issuer: at('').href,
      endpoints: { authorization: at('/oauth/v2/authorize'), token: at('/api/oauth.v2.access'), userinfo: at('/api/auth.test') },
      clientAuth: 'client_secret_post',
      scopes: ['chat:write', 'channels:history', 'groups:history'],
      permissions: {
        'chat:write': 'Post messages as the Relay app, in channels that it was added to',
        'channels:history': 'See messages in public channels that the Relay app was added to',
        'groups:history': 'See messages in private channels that the Relay app was added to',
      },
      parameters: {},
      reconsent: {},
      revocationEnds: 'grant',
      scopePrefix: '',
      scopeSeparator: ',',
      allowHttp: sandbox !== undefined,
      readTokenResponse,
      readAccount,
    }
  },
})

/** Slack reports errors with status 200 and `ok: false`, and names the kind of token in `token_type`. */
function readTokenResponse(body: JsonObject): { status: number; body: JsonObject } {
  if (body.ok === true) return { status: 200, body: { ...body, token_type: 'bearer' } }
  const error = typeof body.error === 'string' ? (oauthErrors.get(body.error) ?? 'invalid_request') : 'server_error'
  return { status: 400, body: { error } }
}

/** https://docs.slack.dev/reference/methods/oauth.v2.access#errors */
const oauthErrors: ReadonlyMap<string, string> = new Map([
  ['invalid_code', 'invalid_grant'],
  ['code_already_used', 'invalid_grant'],
  ['invalid_refresh_token', 'invalid_grant'],
  ['invalid_client_id', 'invalid_client'],
  ['bad_client_secret', 'invalid_client'],
])

/** https://docs.slack.dev/reference/methods/auth.test */
function readAccount({ ok, user, team, user_id: userId, team_id: teamId }: JsonObject) {
  const known = ok === true && [user, team, userId, teamId].every((each) => typeof each === 'string' && each !== '')
  return known ? { account: `${String(user)} in ${String(team)}`, subject: `${String(teamId)}/${String(userId)}` } : undefined
}
