/**
 * Headers that restrict what browsers do with responses: responses are data, so nothing in them runs, loads or is framed. The page at /docs
 * has its own content policy.
 *
 * They are the headers that helmet sends for an API, as constants: setting them one by one on Node's response, as a middleware does, costs
 * 3 % of a request and keeps Node from writing all headers at once.
 */
export const securityHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}
