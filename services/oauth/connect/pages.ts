/**
 * The pages that a person sees while connecting an account. A page says what they can do, never which check failed, so that an attacker
 * learns nothing.
 */
import { type Html, html } from '#mesh/html.ts'

/** The complete response to a browser. */
export interface PageResponse {
  readonly status: number
  /** The target of a redirect; empty for a page. */
  readonly location: string
  readonly setCookies: string[]
  readonly html: string
  /** The URL that the browser opens by itself after the page; empty for none. */
  readonly forward: string
  /** Whether the page has a form. */
  readonly form: boolean
}

interface Words {
  readonly status: number
  readonly title: string
  readonly text: string
}

/** Error pages. */
export const words = {
  malformed: { status: 400, title: 'This link is not complete', text: 'Go back to where you came from and connect again.' },
  ended: {
    status: 410,
    title: 'This link has expired',
    text: 'Links like this work once, for ten minutes. Go back to where you came from and connect again.',
  },
  otherBrowser: {
    status: 403,
    title: 'Please finish in the browser you started in',
    text: 'Connect in one browser from beginning to end, with cookies allowed. Go back to where you came from and connect again.',
  },
  refused: {
    status: 400,
    title: 'This response cannot be used',
    text: 'Nothing was connected. Go back to where you came from and connect again.',
  },
  notGranted: {
    status: 403,
    title: 'Access was not granted',
    text: 'Nothing was connected. If that was not what you meant, go back to where you came from and connect again.',
  },
  unknownProvider: { status: 404, title: 'There is no such provider', text: 'Nothing was connected.' },
  unavailable: {
    status: 503,
    title: 'Temporarily unavailable',
    text: 'Nothing was connected. Wait a little, go back to where you came from and connect again.',
  },
} as const satisfies Record<string, Words>

export type PageError = keyof typeof words
export const pageErrors = Object.keys(words) as readonly PageError[]

export function errorPage(refusal: PageError, requestId: string, setCookies: string[] = []): PageResponse {
  const { status, title, text } = words[refusal]
  return { ...plain, status, setCookies, html: document(title, [paragraph(text), reference(requestId)]) }
}

export interface ConsentParts {
  workspace: string
  actor: string
  /** For people. */
  provider: string
  /** The requested permissions, in words. */
  permissions: readonly string[]
  /** The target of the form: a path here. */
  action: string
  formToken: string
  setCookies: string[]
}

/** The page before anything happens: it says whose Relay this is, whoever sent the link. */
export function consentPage({ workspace, actor, provider, permissions, action, formToken, setCookies }: ConsentParts): PageResponse {
  const lines = [
    paragraph(`You are about to connect an account of yours at ${provider} to Relay. Nothing has happened yet.`),
    page`<dl>${[definition('Workspace', workspace), definition('Actor', actor), definition('Provider', provider)]}</dl>`,
    paragraph(`Afterwards, anyone who acts as this actor in this workspace can do the following as your ${provider} account:`),
    list(permissions),
    page`<p><strong>Did someone else send you this link? Then close this page.</strong>
Your account would belong to their workspace, and they could act as you.</p>`,
    page`<form method="post" action="${action}"><input type="hidden" name="form_token" value="${formToken}">`,
    page`<button>Continue to ${provider}</button></form>`,
  ]
  return { ...plain, form: true, setCookies, html: document(`Connect an account at ${provider}`, lines) }
}

/** Shown on the way to the provider, for as long as that takes. */
export function forwardPage({ provider, url, setCookies }: { provider: string; url: string; setCookies: string[] }): PageResponse {
  const lines = [page`<p>If nothing happens, <a href="${url}">continue to ${provider}</a>.</p>`]
  return { ...plain, forward: url, setCookies, html: document(`Continuing to ${provider}`, lines) }
}

export interface ConnectedParts {
  /** For people. */
  provider: string
  account: string
  /** The requested scopes that were not granted. */
  missing: readonly string[]
  setCookies: string[]
}

export function connectedPage({ provider, account, missing, setCookies }: ConnectedParts): PageResponse {
  const lines = [paragraph(`${account} is connected. You can close this page.`)]
  if (missing.length > 0) {
    lines.push(paragraph('This was not granted; what needs it will say so:'))
    lines.push(list(missing))
  }
  return { ...plain, setCookies, html: document(`${provider} is connected`, lines) }
}

/** The provider granted no refresh token: consent must be requested once more. `startUrl` is on our own origin. */
export function reconsentPage({
  provider,
  startUrl,
  setCookies,
}: {
  provider: string
  startUrl: string
  setCookies: string[]
}): PageResponse {
  const lines = [
    paragraph(`${provider} gave access for an hour only, since access was granted before. To keep it, grant it once more.`),
    page`<p><a href="${startUrl}">Go on to ${provider}</a></p>`,
  ]
  return { ...plain, setCookies, html: document('One more step', lines) }
}

export const redirect = (status: 302 | 303, location: string, setCookies: string[]): PageResponse => ({
  ...plain,
  status,
  location,
  setCookies,
  html: '',
})

const plain = { status: 200, location: '', forward: '', form: false } as const

const list = (texts: readonly string[]) => page`<ul>${texts.map((text) => page`<li>${text}</li>`)}</ul>`
const definition = (term: string, text: string) => page`<dt>${term}</dt><dd><bdi>${text}</bdi></dd>`
const paragraph = (text: string) => page`<p>${text}</p>`
const reference = (requestId: string) => page`<p><small>Request ${requestId}</small></p>`

/** No script, no style, nothing from other origins; and the URL, which contains a code, is never sent as a referrer. */
function document(title: string, lines: readonly Html[]): string {
  return page`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
</head>
<body>
<h1>${title}</h1>
${{ html: lines.map((line) => line.html).join('\n') }}
</body>
</html>
`.html
}

/** HTML from `html`. Invisible characters, and characters that reorder text, are shown as U+FFFD: names come from strangers. */
function page(parts: TemplateStringsArray, ...values: (string | Html | readonly Html[])[]): Html {
  return html(parts, ...values.map((value) => (typeof value === 'string' ? visible(value) : value)))
}

const visible = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{fffd}')
