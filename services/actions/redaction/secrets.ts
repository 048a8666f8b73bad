/** The secrets of one run, and how they are hidden where the other side repeats them. Pure. */
import { readingsOf, urlDecoded } from './encoded-text.ts'
import { TextSearch } from './text-search.ts'

/** Shorter values would be found everywhere. */
const minLength = 6
/** Maximum size of all secrets. More are not credentials, and then nothing that may repeat them is shown. */
const maxBytes = 32 * 1024

export class Secrets {
  /** By their text, so that each occurs once. */
  readonly #bytes = new Map<string, Uint8Array>()
  #size = 0
  #search: TextSearch | undefined

  /** Too many to look for. */
  get tooMany(): boolean {
    return this.#size > maxBytes
  }

  add(text: string): void {
    if (this.tooMany || text.length < minLength) return
    this.#add(text)
    if (this.tooMany) return
    // The other side may return the decoded form of a URL's encoding.
    const decoded = urlDecoded(text)
    if (decoded !== undefined) this.#add(Buffer.from(decoded).toString())
    // Of `Bearer abc`, the receiver may repeat `abc`.
    const space = text.indexOf(' ')
    if (space > 0) this.#add(text.slice(space + 1).trim())
  }

  #add(text: string): void {
    if (text.length < minLength || this.#bytes.has(text)) return
    this.#size += text.length
    if (this.tooMany) return
    const bytes = Buffer.from(text)
    this.#size += bytes.length - text.length
    this.#bytes.set(text, bytes)
  }

  /** Whether the whole text is one, or may be one if there are too many. */
  has(text: string): boolean {
    return this.tooMany ? text.length >= minLength : this.#bytes.has(text)
  }

  /** The text with `redacted` in place of each secret, of adjacent secrets, and of the beginning of one where the text was cut. */
  hide(text: string, redacted: string): string {
    if (this.#bytes.size === 0 || text.length < minLength) return text
    const search = (this.#search ??= new TextSearch([...this.#bytes.values()]))
    const bytes = Buffer.from(text)
    // How many secrets begin and end at each position: they may overlap in any number.
    const change = new Int32Array(bytes.length + 1)
    let any = false
    for (const { bytes: read, from } of readingsOf(bytes)) {
      search.find(read, (begin, end) => {
        if (end - begin < minLength) return
        any = true
        change[from[begin]!]! += 1
        change[from[end]!]! -= 1
      })
    }
    return any ? withoutMarked(bytes, change, redacted) : text
  }
}

function withoutMarked(bytes: Buffer, change: Int32Array, redacted: string): string {
  let shown = ''
  let kept = 0
  let under = 0
  for (let at = 0; at <= bytes.length; at += 1) {
    const before = under
    under += change[at]!
    if (before === 0 && under > 0) shown += bytes.toString('utf8', kept, at) + redacted
    if (under > 0) kept = at + 1
    else if (before > 0) kept = at
  }
  return shown + bytes.toString('utf8', kept)
}
