/** The reasons that the idempotency service returns; `docs/errors.md` lists them. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('idempotency', {
  STALE_TOKEN: { code: 'FAILED_PRECONDITION', message: 'The token no longer holds the grant. Nothing was changed. Claim the key again.' },
  RESPONSE_NEEDS_TOKEN: { code: 'INVALID_ARGUMENT', message: 'A response can be stored only with the token of the grant. Send the token.' },
  CONTENDED: { code: 'UNAVAILABLE', message: 'Too many concurrent changes of this claim; nothing was done. Retry.' },
})
