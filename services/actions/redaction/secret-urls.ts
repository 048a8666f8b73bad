/** Secrets in URLs: user and password, and secret parameters of the query or the fragment. Pure, and linear: a URL may be hostile. */
import { isSecretParameter } from './secret-names.ts'

/** Browsers and Node accept either slash, and any number of them. */
const start = /^\s*https?:[/\\]+/i
/** A URL within a longer text: it ends at the first character that a URL must encode. */
const within = /https?:[/\\]+[^\s"'<>`]+/gi

/** Everything else stays as it is. Calls `found` with each text that was hidden. */
export function hideInUrl(text: string, redacted: string, found: (secret: string) => void): string {
  const scheme = start.exec(text)?.[0]
  // A text that begins with a URL is one to its end.
  if (scheme === undefined) return text.replace(within, (url) => hideInUrl(url, redacted, found))
  return scheme + hideParameters(hideUser(text.slice(scheme.length), redacted, found), redacted, found)
}

function hideUser(text: string, redacted: string, found: (secret: string) => void): string {
  const path = text.search(/[/\\?#]/)
  const at = path === -1 ? text.lastIndexOf('@') : text.lastIndexOf('@', path)
  if (at < 1) return text
  const user = text.slice(0, at)
  const colon = user.indexOf(':')
  if (colon === -1) found(user)
  else for (const part of [user.slice(0, colon), user.slice(colon + 1)]) found(part)
  return redacted + text.slice(at)
}

/**
 * A parameter ends at & or #. A name also begins after ? and ;, which may occur in a value as well: what follows a secret value is hidden
 * with it.
 */
function hideParameters(text: string, redacted: string, found: (secret: string) => void): string {
  let at = text.search(/[?#&;]/)
  if (at === -1) return text
  let shown = ''
  let kept = 0
  let name = at + 1
  let named = false
  let secret: number | undefined
  const end = () => {
    if (secret === undefined || secret === at) return
    found(text.slice(secret, at))
    shown += text.slice(kept, secret) + redacted
    kept = at
  }
  for (at += 1; at < text.length; at += 1) {
    const sign = text[at]
    if (sign === '&' || sign === '#') {
      end()
      secret = undefined
    }
    if (sign === '&' || sign === '#' || sign === '?' || sign === ';') {
      name = at + 1
      named = false
    } else if (sign === '=' && !named) {
      named = true
      if (secret === undefined && isSecretParameter(text.slice(name, at))) secret = at + 1
    }
  }
  end()
  return shown + text.slice(kept)
}
