/**
 * Header fields of a mail as every program reads them: text that is not plain is written as encoded words (RFC 2047) or extended parameters
 * (RFC 2231). So is plain ASCII that looks like an encoded word, because a reader would decode it. Pure.
 */

/** Words of printable ASCII between single spaces: folding a line at a space changes nothing in them. */
const plainWords = /^[\x21-\x7e]{1,60}(?: [\x21-\x7e]{1,60})*$/
/** Readers decode text that begins like this, even where the standard says that they should not. */
const looksEncoded = '=?'
const isPlain = (text: string) => plainWords.test(text) && !text.includes(looksEncoded)

/** RFC 2047, 2: an encoded word has at most 75 characters, and its line 76. */
const maxWordBytes = 39
const maxLine = 76

function encodedWords(text: string): string[] {
  const pieces: string[] = []
  let piece = ''
  for (const character of text) {
    if (Buffer.byteLength(piece + character) > maxWordBytes) {
      pieces.push(piece)
      piece = ''
    }
    piece += character
  }
  if (piece !== '') pieces.push(piece)
  return pieces.map((each) => `=?UTF-8?B?${Buffer.from(each).toString('base64')}?=`)
}

/** The words of an unstructured field, such as a subject. */
export const textWords = (text: string): string[] => (isPlain(text) ? text.split(' ') : encodedWords(text))

/** The words of a display name: as it is, quoted, or encoded. */
function nameWords(name: string): string[] {
  if (name === '') return []
  if (!isPlain(name)) return encodedWords(name)
  // RFC 5322, 3.2.3: atoms.
  const written = /^[\w!#$%&'*+/=?^`{|}~ -]+$/.test(name) ? name : `"${name.replaceAll(/["\\]/g, '\\$&')}"`
  return written.split(' ')
}

export interface Person {
  address: string
  name?: string | undefined
}

/** The words of a field of addresses. */
export const addressWords = (people: readonly Person[]): string[] =>
  people.flatMap(({ address, name = '' }, index) => {
    const comma = index < people.length - 1 ? ',' : ''
    return name === '' ? [`${address}${comma}`] : [...nameWords(name), `<${address}>${comma}`]
  })

/** The value of a field, folded between its words; no line of it is empty. */
export function folded(name: string, words: readonly string[]): string {
  const lines: string[] = []
  let line = `${name}:`
  for (const word of words) {
    if (line.length + 1 + word.length > maxLine && line !== `${name}:`) {
      lines.push(line)
      line = ''
    }
    line += ` ${word}`
  }
  return [...lines, line].join('\r\n').slice(name.length + 2)
}

/** A parameter with any text as its value, as words: `name="…"`, or extended values in pieces. */
export function parameterWords(name: string, text: string): string[] {
  if (isPlain(text) && text.length <= 60 && !/["\\%]/.test(text)) return [`; ${name}="${text}"`]
  const pieces = ["UTF-8''"]
  for (const character of text) {
    const encoded = encodeURIComponent(character).replaceAll(/['()*!]/g, (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`)
    if (pieces.at(-1)!.length + encoded.length > 55) pieces.push('')
    pieces[pieces.length - 1] += encoded
  }
  if (pieces.length === 1) return [`; ${name}*=${pieces[0]}`]
  return pieces.map((piece, index) => `; ${name}*${index}*=${piece}`)
}

/** For programs without extended values: encoded words in quotes are not standard, but they read them. */
export const nameParameterWords = (text: string): string[] =>
  isPlain(text) && text.length <= 60 && !/["\\%]/.test(text) ? [`; name="${text}"`] : [`; name="${encodedWords(text).join(' ')}"`]

/** A value and its parameters, folded before each. */
export const foldedParameters = (name: string, value: string, parameters: readonly string[]): string => {
  const words = [value, ...parameters.map((each) => each.slice(2))]
  return folded(
    name,
    words.map((word, index) => (index < words.length - 1 ? `${word};` : word)),
  )
}
