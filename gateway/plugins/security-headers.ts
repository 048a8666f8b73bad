/**
 * Headers that tell browsers to trust nothing of ours beyond what it is: answers are data, of which nothing runs, loads or is framed. The
 * page at /docs has a content policy of its own.
 *
 * They are what helmet sends for an API, as constants: set one by one on Node's response, as a middleware does, they cost 3 % of a request
 * and keep Node from writing all headers at once.
 */
export const securityHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}
