/** The reasons that the gateway itself returns, before or instead of a service. `docs/errors.md` lists them. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('gateway', {
  NOT_FOUND: { code: 'NOT_FOUND', message: 'No route matches this path. GET /openapi.json lists all routes.' },
  METHOD_NOT_ALLOWED: { code: 'UNIMPLEMENTED', message: 'This path does not support this method. Use one that the Allow header lists.' },
  MALFORMED_REQUEST: { code: 'INVALID_ARGUMENT', message: 'The HTTP request is malformed.' },
  INVALID_URL: { code: 'INVALID_ARGUMENT', message: 'The URL is malformed. Check its percent-encoding.' },
  URL_TOO_LONG: { code: 'INVALID_ARGUMENT', message: 'A path parameter is too long. Shorten it.' },
  HOST_INVALID: { code: 'INVALID_ARGUMENT', message: 'The request must have exactly one valid Host header.' },
  HEADER_REPEATED: { code: 'INVALID_ARGUMENT', message: 'A header that may appear only once was sent more than once. Send it once.' },
  HEADERS_TOO_LARGE: {
    code: 'INVALID_ARGUMENT',
    message: 'The request headers are larger than 16 KiB in total. Send fewer or shorter headers.',
  },
  BODY_TOO_LARGE: { code: 'INVALID_ARGUMENT', message: 'The body is larger than 1 MiB. Send less.' },
  REQUEST_TIMEOUT: { code: 'DEADLINE_EXCEEDED', message: 'The request took too long to arrive. Send it again.' },
  UNSUPPORTED_MEDIA_TYPE: {
    code: 'INVALID_ARGUMENT',
    message: 'The body must be uncompressed JSON in UTF-8. Send Content-Type: application/json.',
  },
  INVALID_JSON: { code: 'INVALID_ARGUMENT', message: 'The body is not a JSON object that Relay can store exactly as it is.' },
  KEY_IN_QUERY: {
    code: 'INVALID_ARGUMENT',
    message: 'The URL contains a key, and logs keep URLs. Revoke that key and send Authorization: Bearer <API key> instead.',
  },
  NOT_A_NAVIGATION: {
    code: 'PERMISSION_DENIED',
    message: 'This address is only for navigation in a browser tab. Nothing was done. Open the link itself.',
  },
  SERVICE_NOT_CONFIGURED: {
    code: 'UNIMPLEMENTED',
    message: 'The service behind this route is not configured. An operator must add it to UPSTREAMS.',
  },
  SIGNATURE_REQUIRED: {
    code: 'UNAUTHENTICATED',
    message: 'The body has no signature. Send X-Signature: the hex HMAC-SHA256 of the exact body.',
  },
  SIGNATURE_INVALID: {
    code: 'UNAUTHENTICATED',
    message: 'X-Signature does not match this body. Sign the exact bytes that you send, with the current signature key.',
  },
  RATE_LIMITED: { code: 'RESOURCE_EXHAUSTED', message: 'Rate limit exceeded. Wait for the time in Retry-After.' },
})
