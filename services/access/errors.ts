/** The reasons that the access service returns; `docs/errors.md` lists them. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('access', {
  SIGN_IN_LIMITED: { code: 'RESOURCE_EXHAUSTED', message: 'Too many failed sign-ins from this address. Wait for the time in Retry-After.' },
  KEY_NOT_FOUND: { code: 'NOT_FOUND', message: 'The key does not exist. Check its id with GET /access/keys.' },
  KEY_ENDED: { code: 'FAILED_PRECONDITION', message: 'This key has expired or was revoked. Create a new one.' },
  KEY_LIMIT: { code: 'FAILED_PRECONDITION', message: 'The workspace has reached its limit of active keys. Revoke one first.' },
  SCOPE_TOO_WIDE: {
    code: 'PERMISSION_DENIED',
    message: 'A key cannot have more permissions than the caller who creates it. Narrow its role or scopes.',
  },
  KEY_TOO_WIDE: {
    code: 'PERMISSION_DENIED',
    message: 'A key cannot exceed the limits of the key that creates or rotates it. Narrow its expiry or its allowed_sources.',
  },
  CALLING_KEY_ENDED: { code: 'UNAUTHENTICATED', message: 'The API key that makes this call has expired or was revoked. Use another key.' },
  CHILDREN_NOT_YOURS: {
    code: 'PERMISSION_DENIED',
    message: 'This key created keys of other actors. Revoke it with a key that has keys:admin, or keep those keys with keep_children=true.',
  },
  SIGNATURE_ROOT_MISSING: {
    code: 'FAILED_PRECONDITION',
    message: 'Signature keys cannot be revealed or replaced, because SIGNATURE_ROOT_SECRET is not set. An operator must set it.',
  },
  OVERLAP_OPEN: { code: 'FAILED_PRECONDITION', message: 'The previous signature key is still valid. End the overlap first.' },
  ACTOR_NOT_YOURS: {
    code: 'PERMISSION_DENIED',
    message: 'Only a caller with keys:admin can create keys for another actor. Use such a key, or omit the actor.',
  },
})
