/**
 * Whether a browser says that a person opened an address, as opposed to a prefetch, a subresource or a script's request. A client that says
 * neither, such as curl or an old browser, counts as a navigation: no service uses anything up without proof of the browser.
 */
import type { IncomingHttpHeaders } from 'node:http'

/** `Sec-Purpose` by the Fetch standard; browsers sent the others before it. */
const purposes = ['sec-purpose', 'purpose', 'x-purpose', 'x-moz']
const beforehand = /prefetch|prerender|preview/i

export function isNavigation(method: string, headers: IncomingHttpHeaders): boolean {
  if (purposes.some((name) => beforehand.test(String(headers[name] ?? '')))) return false
  // https://www.w3.org/TR/fetch-metadata/: an image, a frame, a script's fetch … each has a destination of its own.
  const destination = headers['sec-fetch-dest']
  if (destination !== undefined && destination !== 'document') return false
  // Only Relay's own pages send Relay's forms.
  const site = headers['sec-fetch-site']
  return method === 'GET' || site === undefined || site === 'same-origin'
}
