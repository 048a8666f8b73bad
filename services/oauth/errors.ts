/** The reasons that the oauth service answers with; `docs/errors.md` lists them. What a browser is told stands in connect/pages.ts. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('oauth', {
  UNKNOWN_PROVIDER: { code: 'NOT_FOUND', message: 'There is no such provider here.' },
  OAUTH_NOT_CONFIGURED: { code: 'UNIMPLEMENTED', message: 'This provider is not configured here: set the variables that are named.' },
  RETURN_NOT_ALLOWED: { code: 'INVALID_ARGUMENT', message: 'return_to is not at an origin of OAUTH_RETURN_ORIGINS.' },
  CONNECTION_LIMIT: {
    code: 'FAILED_PRECONDITION',
    message: 'The workspace has reached its limit of connected accounts. Disconnect one first.',
  },
  CONNECTION_NOT_FOUND: { code: 'NOT_FOUND', message: 'There is no such connection.' },
  NOT_CONNECTED: { code: 'FAILED_PRECONDITION', message: 'No account is connected at this provider: connect one.' },
  CONNECTION_CHANGED: { code: 'FAILED_PRECONDITION', message: 'Another account is connected now than was meant: preview again.' },
  REAUTH_REQUIRED: { code: 'FAILED_PRECONDITION', message: 'The account has to be connected anew.' },
  PROVIDER_UNAVAILABLE: { code: 'UNAVAILABLE', message: 'The provider gives no new token just now. Try again soon.' },
  CLIENT_REFUSED: {
    code: 'UNAVAILABLE',
    message: 'The provider does not accept this installation as its client: its operator has to look.',
  },
})
