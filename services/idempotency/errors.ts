/** The reasons that the idempotency service answers with; `docs/errors.md` lists them. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('idempotency', {
  STALE_TOKEN: { code: 'FAILED_PRECONDITION', message: 'The grant is no longer held: nothing was changed.' },
  RESPONSE_NEEDS_TOKEN: { code: 'INVALID_ARGUMENT', message: 'A response can be stored only with the token of the grant.' },
  CONTENDED: { code: 'UNAVAILABLE', message: 'Too many change this claim at the same time; nothing was done. Try again at once.' },
})
