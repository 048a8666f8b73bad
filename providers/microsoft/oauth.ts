/** Microsoft accounts (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow). README.md explains each scope. */
import { text } from '#mesh/config.ts'
import { isUuid } from '#mesh/uuid.ts'
import { oauthFacet } from '../oauth.ts'

export const oauth = oauthFacet({
  variables: { tenant: text('MICROSOFT_TENANT', 'Whose accounts: a tenant, or common, organizations, consumers', { default: 'common' }) },
  server({ tenant }, sandbox) {
    const base = `https://login.microsoftonline.com/${encodeURIComponent(tenant)}`
    const at = (host: string, path: string) => new URL(sandbox ? `${sandbox.origin}${path}` : `${host}${path}`)
    const ofTenant = isUuid(tenant) ? tenant.toLowerCase() : '{tenantid}'
    return {
      issuer: sandbox ? `${sandbox.origin}/{tenantid}/v2.0` : `https://login.microsoftonline.com/${ofTenant}/v2.0`,
      endpoints: {
        authorization: at(base, '/oauth2/v2.0/authorize'),
        token: at(base, '/oauth2/v2.0/token'),
        // There is no endpoint of RFC 7009: the owner revokes access at myapps.microsoft.com.
        userinfo: at('https://graph.microsoft.com', '/oidc/userinfo'),
        jwks: at(base, '/discovery/v2.0/keys'),
      },
      clientAuth: 'client_secret_post',
      scopes: ['openid', 'email', 'offline_access', 'Mail.Send', 'Mail.ReadWrite', 'Calendars.ReadWrite'],
      permissions: {
        'Mail.Send': 'Send email as you',
        'Mail.ReadWrite': 'Read, create, change and delete your email',
        'Calendars.ReadWrite': 'See, create, change and delete events in your calendars',
      },
      parameters: { response_mode: 'query', prompt: 'select_account' },
      reconsent: { prompt: 'consent' },
      revocationEnds: 'account',
      scopePrefix: 'https://graph.microsoft.com/',
      allowHttp: sandbox !== undefined,
    }
  },
})
