/**
 * Strict JSON: input that Relay cannot keep exactly as the client wrote it is rejected, by field, instead of repaired.
 *
 * JSON.parse checks the grammar (RFC 8259). The scanner then looks in the accepted text for what JSON.parse would change or hide: duplicate
 * keys (it keeps the last), integers beyond ±2^53 that it would round, numbers that overflow, lone surrogates and NUL (database text cannot
 * hold them), nesting deeper than any real request, and `__proto__`, which later code that copies objects could take for a prototype.
 *
 * The scanner is Relay's own, because accepted text needs no parser: one pass, no recursion, no allocation for a string without escapes. A
 * visitor of a full parser (jsonc-parser's, with which the tests compare) takes three times as long per request for the same result.
 */
import { errors } from '../errors.ts'
import { checkJsonSize } from './json-size.ts'

export type JsonObject = { [key: string]: unknown }

/** Maximum nesting of objects and arrays, including the outermost. */
export const deepestJson = 32

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Parses the bytes as an object. Throws INVALID_JSON, naming the field as a dot path like `params.items.0.id`. */
export function parseJsonObject(bytes: Uint8Array): JsonObject {
  checkJsonSize(bytes)
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch (cause) {
    throw errors.INVALID_JSON({ message: 'The body is not UTF-8. Send UTF-8.', cause })
  }
  if (text.charCodeAt(0) === 0xfeff)
    throw errors.INVALID_JSON({ message: 'The body begins with a byte order mark. Send JSON without one.' })
  if (text.trim() === '') throw errors.INVALID_JSON({ message: 'The body is empty. Send a JSON object.' })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const place = /\(line \d+ column \d+\)/.exec((cause as Error).message)?.[0].slice(1, -1)
    throw errors.INVALID_JSON({
      message: place === undefined ? 'The body is not valid JSON.' : `The body is not valid JSON: see ${place}.`,
      cause,
    })
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw errors.INVALID_JSON({ message: 'The body is not a JSON object. Send one.' })
  }
  scan(text)
  return value as JsonObject
}

/** An object or array that is open at the position of the scan. */
interface Open {
  /** The keys so far; undefined in an array. */
  keys: Set<string> | undefined
  key: string
  index: number
}

const quote = 0x22
const backslash = 0x5c

/** Checks text that JSON.parse has accepted. */
function scan(text: string): void {
  const open: Open[] = []
  let top: Open | undefined
  let keyNext = false
  for (let at = 0; at < text.length; at += 1) {
    switch (text[at]) {
      case '{':
      case '[':
        if (open.length === deepestJson) throw refusal(open, `is nested deeper than ${deepestJson} levels`)
        keyNext = text[at] === '{'
        top = { keys: keyNext ? new Set() : undefined, key: '', index: 0 }
        open.push(top)
        break
      case '}':
      case ']':
        open.pop()
        top = open.at(-1)
        keyNext = false
        break
      case ',':
        if (top!.keys === undefined) top!.index += 1
        else keyNext = true
        break
      case '"': {
        const end = endOfString(text, at)
        const escaped = text.slice(at, end).includes('\\')
        if (keyNext) top!.key = escaped ? (JSON.parse(text.slice(at, end + 1)) as string) : text.slice(at + 1, end)
        if (escaped) checkText(keyNext ? top!.key : (JSON.parse(text.slice(at, end + 1)) as string), open)
        if (keyNext) checkKey(top!, open)
        keyNext = false
        at = end
        break
      }
      case '-':
      case '0':
      case '1':
      case '2':
      case '3':
      case '4':
      case '5':
      case '6':
      case '7':
      case '8':
      case '9': {
        let end = at + 1
        while (inNumber(text.charCodeAt(end))) end += 1
        checkNumber(text.slice(at, end), open)
        at = end - 1
        break
      }
      default:
      // White space, colons, and the letters of true, false and null.
    }
  }
}

/** The index of the closing quote. */
function endOfString(text: string, start: number): number {
  let at = start + 1
  for (let code = text.charCodeAt(at); code !== quote; code = text.charCodeAt(at)) at += code === backslash ? 2 : 1
  return at
}

/** For strings with escapes: UTF-8 and the grammar exclude these characters elsewhere. */
function checkText(value: string, open: readonly Open[]): void {
  if (!value.isWellFormed()) throw refusal(open, 'holds half of a surrogate pair, which is not a character')
  if (value.includes('\0')) throw refusal(open, 'holds the character NUL (\\u0000), which text cannot contain')
}

function checkKey(top: Open, open: readonly Open[]): void {
  if (top.keys!.has(top.key)) throw refusal(open, 'is given more than once')
  if (top.key === '__proto__') throw refusal(open, "is a name that JavaScript takes for an object's prototype; it is not accepted")
  top.keys!.add(top.key)
}

/** Digits, and + - . e E. */
const inNumber = (code: number): boolean =>
  (code >= 0x30 && code <= 0x39) || code === 0x2b || code === 0x2d || code === 0x2e || code === 0x65 || code === 0x45

/** From here on a double cannot distinguish neighbouring whole numbers. */
const limit = 2 ** 53

/**
 * Beyond ±2^53 a number is accepted if it is written back as the same number (1e20, 9007199254740994), so that no caller sees or sends a
 * different number than the one requested. A number that would be rounded (9007199254740993) is rejected.
 */
function checkNumber(literal: string, open: readonly Open[]): void {
  // 2^53 has 16 digits: shorter numbers are exact.
  if (literal.length < 16 && !/e/i.test(literal)) return
  const value = Number(literal)
  if (Math.abs(value) === Infinity) throw refusal(open, 'is larger than the largest double')
  if (Math.abs(value) >= limit && decimalOf(literal) !== decimalOf(String(value))) {
    throw refusal(open, 'is beyond ±2^53 and would be rounded: send it as a string')
  }
}

/**
 * One text for each number, however it is written: its digits without leading and trailing zeros, and the power of ten of the last digit.
 */
function decimalOf(literal: string): string {
  const [, whole = '', fraction = '', exponent = '0'] = /^-?(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(literal)!
  const digits = (whole + fraction).replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  return `${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`
}

const maxNameLength = 64

function refusal(open: readonly Open[], description: string) {
  const field = open
    .map(({ keys, key, index }) => (keys === undefined ? String(index) : key.slice(0, maxNameLength)))
    .join('.')
    .toWellFormed()
  return errors.INVALID_JSON({
    message: `The body cannot be stored exactly as it is: ${field} ${description}.`,
    violations: [{ field, description }],
  })
}
