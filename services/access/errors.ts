/** The reasons that the access service answers with; `docs/errors.md` lists them. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('access', {
  SIGN_IN_LIMITED: { code: 'RESOURCE_EXHAUSTED', message: 'Too many failed sign-ins from this address. Wait for the time in Retry-After.' },
  KEY_NOT_FOUND: { code: 'NOT_FOUND', message: 'There is no such key.' },
  KEY_ENDED: { code: 'FAILED_PRECONDITION', message: 'This key has expired or was revoked: make a new one.' },
  KEY_LIMIT: { code: 'FAILED_PRECONDITION', message: 'The workspace has as many living keys as it may: revoke some first.' },
  SCOPE_TOO_WIDE: { code: 'PERMISSION_DENIED', message: 'A key can do nothing that its maker cannot do: narrow its role or scopes.' },
  KEY_TOO_WIDE: {
    code: 'PERMISSION_DENIED',
    message: 'A key cannot reach beyond the key that makes or rotates it: narrow its end or its allowed_sources.',
  },
  CALLING_KEY_ENDED: { code: 'UNAUTHENTICATED', message: 'The API key that makes this call has expired or was revoked.' },
  CHILDREN_NOT_YOURS: {
    code: 'PERMISSION_DENIED',
    message: 'This key made keys of other actors. Revoke it with a key that has keys:admin, or keep them: keep_children=true.',
  },
  SIGNATURE_ROOT_MISSING: {
    code: 'FAILED_PRECONDITION',
    message: 'Signature keys cannot be shown or replaced here: SIGNATURE_ROOT_SECRET is not set.',
  },
  OVERLAP_OPEN: { code: 'FAILED_PRECONDITION', message: 'The key before this one still counts. End its overlap first.' },
  ACTOR_NOT_YOURS: { code: 'PERMISSION_DENIED', message: 'Only a caller with keys:admin makes keys for another actor.' },
})
