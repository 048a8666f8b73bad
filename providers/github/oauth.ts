/**
 * GitHub accounts by an OAuth app, as https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps has them. Its
 * tokens do not expire. README.md says what each scope is for.
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
      // There is none for issues alone; who works in public repositories only asks for public_repo.
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

/** GitHub says what went wrong with status 200. */
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
