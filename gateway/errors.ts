/** The reasons that the gateway itself answers with, before or instead of a service. `docs/errors.md` lists them. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('gateway', {
  NOT_FOUND: { code: 'NOT_FOUND', message: 'There is nothing at this path. GET /openapi.json says what there is.' },
  METHOD_NOT_ALLOWED: { code: 'UNIMPLEMENTED', message: 'This path does not take that method. The Allow header says which it takes.' },
  MALFORMED_REQUEST: { code: 'INVALID_ARGUMENT', message: 'This is not a well-formed HTTP request.' },
  INVALID_URL: { code: 'INVALID_ARGUMENT', message: 'The URL is not well-formed: check its percent-encoding.' },
  URL_TOO_LONG: { code: 'INVALID_ARGUMENT', message: 'A part of the path is too long.' },
  HOST_INVALID: { code: 'INVALID_ARGUMENT', message: 'A request has exactly one Host header.' },
  HEADER_REPEATED: { code: 'INVALID_ARGUMENT', message: 'A header that may be sent once was sent more often.' },
  HEADERS_TOO_LARGE: { code: 'INVALID_ARGUMENT', message: 'The headers are larger than 16 KiB together.' },
  BODY_TOO_LARGE: { code: 'INVALID_ARGUMENT', message: 'The body is larger than 1 MiB.' },
  REQUEST_TIMEOUT: { code: 'DEADLINE_EXCEEDED', message: 'The request took too long to arrive.' },
  UNSUPPORTED_MEDIA_TYPE: {
    code: 'INVALID_ARGUMENT',
    message: 'Bodies are JSON in UTF-8, uncompressed: send Content-Type: application/json.',
  },
  INVALID_JSON: { code: 'INVALID_ARGUMENT', message: 'The body is not a JSON object that can be taken exactly as it is.' },
  KEY_IN_QUERY: {
    code: 'INVALID_ARGUMENT',
    message: 'Keys do not belong in a URL, where logs keep them: send Authorization: Bearer <API key>.',
  },
  NOT_A_NAVIGATION: {
    code: 'PERMISSION_DENIED',
    message: 'This address is for a person who opens it in a browser tab. Nothing was done. Open the link itself.',
  },
  SERVICE_NOT_CONFIGURED: {
    code: 'UNIMPLEMENTED',
    message: 'The service that would answer this is no part of this installation: UPSTREAMS does not say where it is.',
  },
  SIGNATURE_REQUIRED: {
    code: 'UNAUTHENTICATED',
    message: 'Bodies must be signed here: send X-Signature, the hex HMAC-SHA256 of the exact body.',
  },
  SIGNATURE_INVALID: { code: 'UNAUTHENTICATED', message: 'X-Signature is not the signature of this body.' },
  RATE_LIMITED: { code: 'RESOURCE_EXHAUSTED', message: 'Too many requests in this minute. Retry-After says when to go on.' },
})
