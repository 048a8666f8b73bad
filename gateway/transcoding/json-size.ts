/**
 * Limits the number of values in a JSON body, counted in its bytes before it is parsed: a body of 1 MiB can hold half a million values, and
 * parsing them blocks the event loop for a second. Pure.
 */
import { errors } from '../errors.ts'

/** Maximum objects, arrays, strings, numbers and literals in one body. */
export const maxJsonValues = 20_000
/** Maximum members of one object, and characters of one number: a double needs at most 767 digits. */
export const maxJsonMembers = 5000
const maxNumberLength = 1024

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const colon = 0x3a
const openBracket = 0x5b
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d

const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39

/** Throws INVALID_JSON for a body that holds too much. It does not detect text that is not JSON. */
export function checkJsonSize(bytes: Uint8Array): void {
  let values = 1
  // If the brackets do not match, the text is not JSON, and this count does not matter.
  const members: number[] = []
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at]!
    if (byte === quote) at = endOfString(bytes, at)
    else if (byte === comma || byte === openBracket || byte === openBrace) {
      values += 1
      if (values > maxJsonValues) throw tooMuch(`holds more than ${maxJsonValues} values`)
      if (byte !== comma) members.push(0)
    } else if (byte === closeBracket || byte === closeBrace) members.pop()
    else if (byte === colon && members.length > 0) {
      const count = members[members.length - 1]! + 1
      if (count > maxJsonMembers) throw tooMuch(`holds an object with more than ${maxJsonMembers} members`)
      members[members.length - 1] = count
    } else if (isDigit(byte)) {
      const start = at
      while (isDigit(bytes[at + 1]!)) at += 1
      if (at - start >= maxNumberLength) throw tooMuch(`holds a number of more than ${maxNumberLength} digits`)
    }
  }
}

/** The index of the closing quote, or the end of the text if there is none. */
function endOfString(bytes: Uint8Array, start: number): number {
  let at = start + 1
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1
  return at
}

const tooMuch = (what: string) =>
  errors.INVALID_JSON({ message: `The body ${what}. Send fewer values per request, or one string in place of many values.` })
