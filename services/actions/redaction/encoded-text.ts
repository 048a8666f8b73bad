/**
 * A text as bytes, and its readings decoded from JSON or URL encoding, up to two levels: each byte knows where in the text it began. Pure.
 */

interface Reading {
  bytes: Uint8Array
  /** One more than bytes: the last is the end of the text. */
  from: Int32Array
}

type Decode = (bytes: Uint8Array, at: number) => { length: number; bytes: ArrayLike<number> } | undefined

const maxEncodings = 2

/** The text itself first. None is longer than it, and there are at most seven. */
export function readingsOf(bytes: Uint8Array): Reading[] {
  const all: Reading[] = [{ bytes, from: Int32Array.from({ length: bytes.length + 1 }, (_, at) => at) }]
  let latest = all
  for (let time = 0; time < maxEncodings; time += 1) {
    latest = latest.flatMap((reading) => [decoded(reading, jsonEscape), decoded(reading, urlEscape)].filter((each) => each !== undefined))
    all.push(...latest)
  }
  return all
}

export const urlDecoded = (text: string): Uint8Array | undefined => {
  const bytes = Buffer.from(text)
  return decoded({ bytes, from: new Int32Array(bytes.length + 1) }, urlEscape)?.bytes
}

/** Undefined if there is nothing to decode. */
function decoded({ bytes, from }: Reading, decode: Decode): Reading | undefined {
  const out = new Uint8Array(bytes.length)
  const outFrom = new Int32Array(bytes.length + 1)
  let size = 0
  let any = false
  for (let at = 0; at < bytes.length;) {
    const escape = decode(bytes, at)
    if (escape === undefined) {
      outFrom[size] = from[at]!
      out[size] = bytes[at]!
      size += 1
      at += 1
      continue
    }
    any = true
    for (let index = 0; index < escape.bytes.length; index += 1) {
      outFrom[size] = from[at]!
      out[size] = escape.bytes[index]!
      size += 1
    }
    at += escape.length
  }
  if (!any) return undefined
  outFrom[size] = from[bytes.length]!
  return { bytes: out.subarray(0, size), from: outFrom.subarray(0, size + 1) }
}

const codeOf = (sign: string): number => sign.charCodeAt(0)
const [backslash, percent, plus, letterU] = [codeOf('\\'), codeOf('%'), codeOf('+'), codeOf('u')]
const space = { length: 1, bytes: [codeOf(' ')] }
const jsonEscapes = new Map(
  Object.entries({ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }).map(([sign, meant]) => [
    codeOf(sign),
    { length: 2, bytes: [codeOf(meant)] },
  ]),
)

function jsonEscape(bytes: Uint8Array, at: number): ReturnType<Decode> {
  if (bytes[at] !== backslash) return undefined
  if (bytes[at + 1] !== letterU) return jsonEscapes.get(bytes[at + 1]!)
  const unit = hexAt(bytes, at + 2, 4)
  if (unit === undefined) return undefined
  const low =
    unit >= 0xd800 && unit < 0xdc00 && bytes[at + 6] === backslash && bytes[at + 7] === letterU ? hexAt(bytes, at + 8, 4) : undefined
  if (low !== undefined && low >= 0xdc00 && low < 0xe000) return { length: 12, bytes: Buffer.from(String.fromCharCode(unit, low)) }
  return { length: 6, bytes: unit < 0x80 ? [unit] : Buffer.from(String.fromCharCode(unit)) }
}

function urlEscape(bytes: Uint8Array, at: number): ReturnType<Decode> {
  if (bytes[at] === plus) return space
  if (bytes[at] !== percent) return undefined
  const byte = hexAt(bytes, at + 1, 2)
  return byte === undefined ? undefined : { length: 3, bytes: [byte] }
}

function hexAt(bytes: Uint8Array, at: number, digits: number): number | undefined {
  let value = 0
  for (let index = at; index < at + digits; index += 1) {
    const digit = hexDigit(bytes[index] ?? 0)
    if (digit === undefined) return undefined
    value = value * 16 + digit
  }
  return value
}

function hexDigit(byte: number): number | undefined {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const letter = byte | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : undefined
}
