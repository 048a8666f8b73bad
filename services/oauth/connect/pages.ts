/**
 * What a person sees who is connecting an account. A page says what they can do, never which check failed: whoever tries things out learns
 * nothing from it.
 */

/** The whole answer to a browser. */
export interface Answer {
  readonly status: number
  /** Where a redirect goes; empty for a page. */
  readonly location: string
  readonly setCookies: string[]
  readonly html: string
}

interface Words {
  readonly status: number
  readonly title: string
  readonly text: string
}

/** Every page that is not the end one hopes for. */
export const words = {
  malformed: { status: 400, title: 'This link is not complete', text: 'Go back to where you came from and connect again.' },
  ended: {
    status: 410,
    title: 'This link has ended',
    text: 'Links like this work once, for ten minutes. Go back to where you came from and connect again.',
  },
  otherBrowser: {
    status: 403,
    title: 'Not the browser that began this',
    text: 'Connect in one browser from beginning to end, with cookies allowed. Go back to where you came from and connect again.',
  },
  refused: {
    status: 400,
    title: 'This answer cannot be used',
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
    title: 'This does not work just now',
    text: 'Nothing was connected. Wait a little, go back to where you came from and connect again.',
  },
} as const satisfies Record<string, Words>

export type Refusal = keyof typeof words
export const refusals = Object.keys(words) as readonly Refusal[]

export function refusalPage(refusal: Refusal, requestId: string, setCookies: string[] = []): Answer {
  const { status, title, text } = words[refusal]
  return { status, location: '', setCookies, html: document(title, [paragraph(text), reference(requestId)]) }
}

export interface ConnectedParts {
  /** As people read it. */
  provider: string
  account: string
  /** What was asked for and not granted. */
  missing: readonly string[]
  setCookies: string[]
}

export function connectedPage({ provider, account, missing, setCookies }: ConnectedParts): Answer {
  const lines = [paragraph(`${account} is connected. You can close this page.`)]
  if (missing.length > 0) {
    lines.push(paragraph('This was not granted; what needs it will say so:'))
    lines.push(`<ul>${missing.map((scope) => `<li>${escape(scope)}</li>`).join('')}</ul>`)
  }
  return { status: 200, location: '', setCookies, html: document(`${provider} is connected`, lines) }
}

/** The provider gave nothing that lasts: it has to be asked for consent once more. `startUrl` is on our own origin. */
export function reconsentPage({ provider, startUrl, setCookies }: { provider: string; startUrl: string; setCookies: string[] }): Answer {
  const lines = [
    paragraph(`${provider} gave access for an hour only, since access was granted before. To keep it, grant it once more.`),
    `<p><a href="${escape(startUrl)}">Go on to ${escape(provider)}</a></p>`,
  ]
  return { status: 200, location: '', setCookies, html: document('One more step', lines) }
}

export const redirect = (status: 302 | 303, location: string, setCookies: string[]): Answer => ({ status, location, setCookies, html: '' })

const paragraph = (text: string) => `<p>${escape(text)}</p>`
const reference = (requestId: string) => `<p><small>Request ${escape(requestId)}</small></p>`

/** No script, no style, nothing from elsewhere; and the address, which holds a code, is told to nobody. */
function document(title: string, lines: readonly string[]): string {
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width">',
    '<meta name="referrer" content="no-referrer">',
    `<title>${escape(title)}</title>`,
    '</head>',
    '<body>',
    `<h1>${escape(title)}</h1>`,
    ...lines,
    '</body>',
    '</html>',
    '',
  ].join('\n')
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;', '`': '&#96;' }

/** For text and for quoted attributes. */
const escape = (text: string): string => text.replace(/[&<>"'`]/g, (character) => entities[character]!)
