/**
 * GitHub accounts through an OAuth app (https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps). Its tokens do
 * not expire. README.md explains each scope.
 */
import { type JsonObject, oauthFacet } from '../oauth.ts'

export const oauth = oauthFacet({
  variables: {},
  server(_, sandbox) {
    const at = (host: string, path: string) => new URL(sandbox ? `${sandbox.origin}/github${path}` : `${host}${path}`)
    return {
      issuer: at('https://github.com', '').href,
      endpoints: {
        authorization: at('https://github.com', '/login/oauth/authorize'),
        token: at('https://github.com', '/login/oauth/access_token'),
        userinfo: sandbox ? at('', '/api/user') : new URL('https://api.github.com/user'),
      },
      clientAuth: 'client_secret_post',
      // GitHub has no scope for issues alone; for public repositories public_repo is enough.
      scopes: ['repo'],
      permissions: {
        repo: 'Read and write all your repositories, also private ones, with their issues: GitHub has no narrower permission for issues',
        public_repo: 'Write to public repositories, with their issues',
      },
      parameters: {},
      reconsent: {},
      revocationEnds: 'grant',
      scopePrefix: '',
      allowHttp: sandbox !== undefined,
      readTokenResponse,
      readAccount,
    }
  },
})

/** GitHub reports errors with status 200. */
function readTokenResponse(body: JsonObject): { status: number; body: JsonObject } {
  if (typeof body.error !== 'string') return { status: 200, body }
  return { status: 400, body: { error: oauthErrors.get(body.error) ?? 'invalid_request' } }
}

/** https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors */
const oauthErrors: ReadonlyMap<string, string> = new Map([
  ['bad_verification_code', 'invalid_grant'],
  ['bad_refresh_token', 'invalid_grant'],
  ['incorrect_client_credentials', 'invalid_client'],
])

/** https://docs.github.com/rest/users/users#get-the-authenticated-user */
function readAccount({ login, id }: JsonObject) {
  return typeof login === 'string' && typeof id === 'number' ? { account: login, subject: String(id) } : undefined
}
