/** Google accounts (https://developers.google.com/identity/protocols/oauth2/web-server). README.md explains each scope. */
import { type Endpoints, oauthFacet } from '../oauth.ts'

const scope = (name: string) => `https://www.googleapis.com/auth/${name}`

export const oauth = oauthFacet({
  variables: {},
  server(_, sandbox) {
    const at = (host: string, path: string) => new URL(path, sandbox ?? host)
    const endpoints: Endpoints = {
      authorization: at('https://accounts.google.com', '/o/oauth2/v2/auth'),
      token: sandbox ? new URL('/oauth2/token', sandbox) : new URL('https://oauth2.googleapis.com/token'),
      revocation: sandbox ? new URL('/oauth2/revoke', sandbox) : new URL('https://oauth2.googleapis.com/revoke'),
      userinfo: sandbox ? new URL('/oauth2/v2/userinfo', sandbox) : new URL('https://openidconnect.googleapis.com/v1/userinfo'),
      jwks: at('https://www.googleapis.com', '/oauth2/v3/certs'),
    }
    return {
      issuer: sandbox ? sandbox.origin : 'https://accounts.google.com',
      endpoints,
      clientAuth: 'client_secret_post',
      scopes: ['openid', 'email', ...['gmail.send', 'gmail.compose', 'gmail.metadata', 'calendar.events'].map(scope)],
      permissions: {
        [scope('gmail.send')]: 'Send email as you',
        [scope('gmail.compose')]: 'Create, read, change, send and delete your drafts',
        [scope('gmail.metadata')]: 'See the labels and headers of your email, not its text',
        [scope('calendar.events')]: 'See, create, change and delete events in your calendars',
      },
      // Earlier grants stay valid: without this, connecting for one scope would remove the others.
      parameters: { access_type: 'offline', include_granted_scopes: 'true' },
      reconsent: { prompt: 'consent' },
      revocationEnds: 'account',
      scopePrefix: '',
      allowHttp: sandbox !== undefined,
    }
  },
})
