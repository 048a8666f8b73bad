/**
 * relay.mesh.v1.Page: the whole response to a browser's navigation, as a service makes it. The gateway checks all of it before it sends
 * anything: a service that is faulty, or was tricked, cannot open a redirect or set a foreign cookie. Pure.
 */
import type { DescMessage } from '@bufbuild/protobuf'
import { Page } from '#gen/relay/mesh/v1/page.ts'
import { contentPolicy } from './content-policy.ts'

export interface PageResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly body: string
}

export const isPage = (message: DescMessage): boolean => message.typeName === 'relay.mesh.v1.Page'

const redirects = new Set([302, 303])
const statuses = new Set([200, ...redirects, 400, 403, 404, 410, 503])
/** The maximum length of return_to, 2048 characters, after percent-encoding each. */
const maxLocation = 20 * 1024
const maxCookies = 16

/** Throws an Error that says what is wrong with the page, and never quotes it: locations and cookies are secrets. */
export function readPage(bytes: Uint8Array): PageResponse {
  const { status, location, setCookies, html, forward, form } = Page.decode(bytes)
  if (!statuses.has(status)) throw new Error(`a page has the status ${status}, which is not allowed`)
  const redirect = redirects.has(status)
  if (redirect !== (location !== '')) throw new Error('a page has a location and does not redirect, or redirects nowhere')
  if (redirect !== (html === '')) throw new Error('a page has no HTML, or has HTML and redirects')
  if (redirect && !mayBeLocation(location)) throw new Error('a page redirects to an address that is neither http(s) nor a path of Relay')
  if (forward !== '' && (status !== 200 || !mayBeLocation(forward)))
    throw new Error('a page forwards to an address that is neither http(s) nor a path of Relay')
  if (setCookies.length > maxCookies || !setCookies.every(maySet)) throw new Error('a page sets a cookie that is not allowed')
  return {
    status,
    headers: {
      ...pageHeaders(html, { form }),
      ...(redirect ? { location } : {}),
      // https://html.spec.whatwg.org/multipage/document-lifecycle.html#the-refresh-header
      ...(forward === '' ? {} : { refresh: `0;url=${forward}` }),
      ...(setCookies.length > 0 ? { 'set-cookie': setCookies } : {}),
    },
    body: html,
  }
}

/** The headers of every page. They allow its first style element, and nothing else that acts or loads. */
export function pageHeaders(html: string, { form = false }: { form?: boolean } = {}): Record<string, string> {
  return {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'content-security-policy': contentPolicy(/<style>([^<]*)<\/style>/.exec(html)?.[1], { form }),
  }
}

/** An absolute http(s) URL without userinfo, or a path here; visible ASCII without the backslash, which browsers read as a slash. */
function mayBeLocation(text: string): boolean {
  if (text.length > maxLocation || !/^[\x21-\x5b\x5d-\x7e]+$/.test(text)) return false
  if (text.startsWith('/')) return !text.startsWith('//')
  const url = /^https?:\/\//.test(text) ? URL.parse(text) : null
  return url !== null && url.username === '' && url.password === ''
}

const ownName = /^(__Host-)?relay-[\w-]+$/
const cookieValue = /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*$/
/** No Domain attribute: the browser returns the cookie to this host alone. */
const attribute = /^(?:Path=\/[\x21-\x3a\x3c-\x7e]*|Secure|HttpOnly|SameSite=(?:Lax|Strict)|Max-Age=\d+)$/

/**
 * Whether a Set-Cookie (RFC 6265, 4.1) is for one of Relay's cookies and keeps what its name promises (`__Host-`: RFC 6265bis, 4.1.3.2).
 */
function maySet(cookie: string): boolean {
  const [pair = '', ...attributes] = cookie.split('; ')
  const equals = pair.indexOf('=')
  const name = ownName.exec(pair.slice(0, Math.max(0, equals)))
  if (name === null || !cookieValue.test(pair.slice(equals + 1)) || !attributes.every((each) => attribute.test(each))) return false
  return name[1] === undefined || (attributes.includes('Secure') && attributes.includes('Path=/'))
}

/** Relay's own cookies in a Cookie header: cookies of other applications on the host do not reach a service. */
export function ownCookies(header: string | undefined): string | undefined {
  const own = header
    ?.split(';')
    .map((each) => each.trim())
    .filter((each) => ownName.test(each.slice(0, Math.max(0, each.indexOf('=')))))
  return own === undefined || own.length === 0 ? undefined : own.join('; ')
}
