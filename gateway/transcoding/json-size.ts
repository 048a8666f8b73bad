/**
 * How much a JSON body holds, told from its bytes before anything is made of them: a body of 1 MiB can hold half a million values, and to
 * read those takes a second in which nobody else is answered. Pure.
 */
import { errors } from '../errors.ts'

/** Objects, arrays, texts, numbers and words that one body may hold. */
export const maxJsonValues = 20_000
/** Members that one object may have, and characters of one number: a double needs at most 767 digits to be written out. */
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

/** Throws INVALID_JSON. Says nothing about text that is not JSON, but that it holds too much. */
export function checkJsonSize(bytes: Uint8Array): void {
  let values = 1
  // Where brackets do not match, it is not JSON, and this count is of no consequence.
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

/** The index of the closing quote, or the end where there is none. */
function endOfString(bytes: Uint8Array, start: number): number {
  let at = start + 1
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1
  return at
}

const tooMuch = (what: string) => errors.INVALID_JSON({ message: `The body ${what}: send less at once, or text in place of many values.` })
