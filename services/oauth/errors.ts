/** The reasons of the oauth service; `docs/errors.md` lists them. The pages for browsers are in connect/pages.ts. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('oauth', {
  UNKNOWN_PROVIDER: { code: 'NOT_FOUND', message: 'This provider does not exist on this installation.' },
  OAUTH_NOT_CONFIGURED: { code: 'UNIMPLEMENTED', message: 'This provider is not configured. Set the variables that `missing` names.' },
  RETURN_NOT_ALLOWED: { code: 'INVALID_ARGUMENT', message: 'return_to is not on an origin that OAUTH_RETURN_ORIGINS allows.' },
  CONNECTION_LIMIT: {
    code: 'FAILED_PRECONDITION',
    message: 'The workspace has reached its limit of connected accounts. Disconnect one first.',
  },
  CONNECTION_NOT_FOUND: { code: 'NOT_FOUND', message: 'This connection does not exist.' },
  NOT_CONNECTED: { code: 'FAILED_PRECONDITION', message: 'No account is connected at this provider. Connect one first.' },
  CONNECTION_CHANGED: { code: 'FAILED_PRECONDITION', message: 'A different account is connected now. Preview again.' },
  REAUTH_REQUIRED: { code: 'FAILED_PRECONDITION', message: 'The account must be connected again.' },
  PROVIDER_UNAVAILABLE: { code: 'UNAVAILABLE', message: 'The provider issues no new token at the moment. Try again soon.' },
  CLIENT_REFUSED: {
    code: 'UNAVAILABLE',
    message: 'The provider rejects the client credentials of this installation. An operator must check them.',
  },
})
