import { createCipheriv, createHmac, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Fernet, FernetError, type FernetErrorCode, decode } from '../../../../services/oauth/vault/fernet.ts'

const vectors = (name: string): unknown => JSON.parse(readFileSync(new URL(`vectors/${name}.json`, import.meta.url), 'utf8'))

interface SpecVector {
  token: string
  now: string
  secret: string
}
const spec = vectors('spec') as {
  generate: (SpecVector & { iv: number[]; src: string })[]
  verify: (SpecVector & { ttl_sec: number; src: string })[]
  invalid: (SpecVector & { ttl_sec: number; desc: string })[]
}
const python = vectors('python') as { tokens: { key: string; time_sec: number; text?: string; base64?: string; token: string }[] }

const fernetOf = (key: string) => new Fernet(decode(key)!)
const secondsOf = (time: string) => Date.parse(time) / 1000

const refusalOf = (work: () => unknown): FernetErrorCode | undefined => {
  try {
    work()
    return undefined
  } catch (error) {
    if (error instanceof FernetError) return error.refusal
    throw error
  }
}

describe("the spec's vectors", () => {
  test.each(spec.generate)('a message becomes the very token', ({ token, now, iv, src, secret }) => {
    expect(fernetOf(secret).encrypt(Buffer.from(src), secondsOf(now), Buffer.from(iv))).toBe(token)
  })

  test.each(spec.verify)('a token becomes its message', ({ token, now, ttl_sec: ttlSec, src, secret }) => {
    expect(
      fernetOf(secret)
        .decrypt(token, { nowSec: secondsOf(now), ttlSec })
        .toString(),
    ).toBe(src)
  })

  const why: Record<string, FernetErrorCode> = {
    'incorrect mac': 'forged',
    'too short': 'malformed',
    'invalid base64': 'malformed',
    'payload size not multiple of block size': 'malformed',
    'payload padding error': 'padding',
    'far-future TS (unacceptable clock skew)': 'early',
    'expired TTL': 'expired',
    'incorrect IV (causes padding error)': 'padding',
  }
  test.each(spec.invalid)('refused: $desc', ({ token, now, ttl_sec: ttlSec, secret, desc }) => {
    expect(refusalOf(() => fernetOf(secret).decrypt(token, { nowSec: secondsOf(now), ttlSec }))).toBe(why[desc])
  })
})

test.each(python.tokens.map((each, index) => ({ index, ...each })))(
  "Python's cryptography and this make the same token, and it opens ($index)",
  ({ key, time_sec: timeSec, text, base64, token }) => {
    const message = base64 === undefined ? Buffer.from(text!) : Buffer.from(base64, 'base64')
    expect(fernetOf(key).decrypt(token)).toEqual(message)
    const iv = decode(token)!.subarray(9, 25)
    expect(fernetOf(key).encrypt(message, timeSec, iv)).toBe(token)
  },
)

const key = randomBytes(32)
const fernet = new Fernet(key)
const nowSec = 1_800_000_000
const messages = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))
const encode = (bytes: Buffer): string => bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_')

describe('a token', () => {
  test('opens to its message, whatever that is, and is another one each time', () => {
    fc.assert(
      fc.property(messages, fc.maxSafeNat(), (message, madeSec) => {
        const token = fernet.encrypt(message, madeSec)
        expect(fernet.decrypt(token)).toEqual(message)
        expect(fernet.encrypt(message, madeSec)).not.toBe(token)
      }),
    )
  })

  test('is refused with any one bit changed, of its bytes or of its text', () => {
    fc.assert(
      fc.property(messages, fc.nat(), (message, at) => {
        const token = fernet.encrypt(message, nowSec)
        const flipped = (bytes: Buffer): Buffer => {
          const bit = at % (bytes.length * 8)
          bytes[bit >> 3]! ^= 1 << (bit & 7)
          return bytes
        }
        expect(refusalOf(() => fernet.decrypt(encode(flipped(decode(token)!))))).toMatch(/^(version|forged)$/)
        expect(refusalOf(() => fernet.decrypt(flipped(Buffer.from(token)).toString('latin1')))).toMatch(/^(malformed|version|forged)$/)
      }),
    )
  })

  test('is refused when anything is cut from it or added to it', () => {
    const token = fernet.encrypt(Buffer.from('a message of two blocks'), nowSec)
    const bytes = decode(token)!
    for (let length = 0; length < token.length; length += 1) expect(refusalOf(() => fernet.decrypt(token.slice(0, length)))).toBeDefined()
    for (let length = 0; length < bytes.length; length += 1) {
      expect(refusalOf(() => fernet.decrypt(encode(bytes.subarray(0, length))))).toMatch(/^(malformed|forged)$/)
      expect(refusalOf(() => fernet.decrypt(encode(bytes.subarray(length + 1))))).toMatch(/^(malformed|version|forged)$/)
    }
    expect(refusalOf(() => fernet.decrypt(encode(Buffer.concat([bytes, Buffer.alloc(16)]))))).toBe('forged')
  })

  test('is refused by another key, and by one that has but half of it', () => {
    const token = fernet.encrypt(Buffer.from('mine'), nowSec)
    expect(refusalOf(() => new Fernet(randomBytes(32)).decrypt(token))).toBe('forged')
    expect(refusalOf(() => new Fernet(Buffer.concat([randomBytes(16), key.subarray(16)])).decrypt(token))).toBe('forged')
  })

  test.each([
    ['without its padding', (token: string) => token.replace(/=+$/, '')],
    ['with more padding', (token: string) => `${token}=`],
    ['in the other alphabet', (token: string) => token.replaceAll('-', '+').replaceAll('_', '/')],
    ['with a space before', (token: string) => ` ${token}`],
    ['with a line end', (token: string) => `${token}\n`],
    ['with a character that means nothing', (token: string) => `${token.slice(0, 20)}.${token.slice(20)}`],
    ['with a letter from afar', (token: string) => `${token.slice(0, 20)}\u0141${token.slice(21)}`],
    ['with bits that are left over', (token: string) => token.replace(/.==$/, 'B==')],
  ])('has one form: refused %s', (_, change) => {
    // 73 bytes, so that two characters of padding follow; its last character is one of A, Q, g, w.
    const token = fernet.encrypt(Buffer.alloc(0), nowSec, Buffer.alloc(16, 0xff))
    expect(token).toMatch(/[-_].*[AQgw]==$/)
    expect(refusalOf(() => fernet.decrypt(change(token)))).toBe('malformed')
  })

  test('is refused before anything is decrypted when it is signed over less than all of it', () => {
    const iv = randomBytes(16)
    const encrypting = createCipheriv('aes-128-cbc', key.subarray(16), iv)
    const encrypted = Buffer.concat([encrypting.update('x'), encrypting.final()])
    const sign = (...parts: Buffer[]) => createHmac('sha256', key.subarray(0, 16)).update(Buffer.concat(parts)).digest()
    const head = Buffer.concat([Buffer.of(0x80), Buffer.alloc(8), iv])
    expect(fernet.decrypt(encode(Buffer.concat([head, encrypted, sign(head, encrypted)]))).toString()).toBe('x')
    for (const mac of [sign(encrypted), sign(head), sign(iv, encrypted), Buffer.alloc(32)]) {
      expect(refusalOf(() => fernet.decrypt(encode(Buffer.concat([head, encrypted, mac]))))).toBe('forged')
    }
    // Signed, but of another version; and with nothing encrypted, or no whole blocks.
    const next = Buffer.concat([Buffer.of(0x81), head.subarray(1)])
    expect(refusalOf(() => fernet.decrypt(encode(Buffer.concat([next, encrypted, sign(next, encrypted)]))))).toBe('version')
    for (const odd of [Buffer.alloc(0), encrypted.subarray(1), Buffer.concat([encrypted, Buffer.of(0)])]) {
      expect(refusalOf(() => fernet.decrypt(encode(Buffer.concat([head, odd, sign(head, odd)]))))).toBe('malformed')
    }
  })

  test('is never read from garbage', () => {
    const anything = fc.string({ unit: fc.nat(0xffff).map((unit) => String.fromCharCode(unit)), maxLength: 300 })
    const base64url = fc.uint8Array({ maxLength: 300 }).map((bytes) => encode(Buffer.from(bytes)))
    const likely = fc.uint8Array({ maxLength: 300 }).map((bytes) => encode(Buffer.concat([Buffer.of(0x80), bytes])))
    fc.assert(
      fc.property(fc.oneof(anything, base64url, likely), (text) => {
        expect(refusalOf(() => fernet.decrypt(text))).toBeDefined()
      }),
    )
  })
})

describe('the age of a token', () => {
  const token = fernet.encrypt(Buffer.from('aged'), nowSec)
  const at = (offsetSec: number, ttlSec: number) => refusalOf(() => fernet.decrypt(token, { nowSec: nowSec + offsetSec, ttlSec }))

  test('counts to the second, and clocks may differ by a minute', () => {
    expect([at(0, 0), at(60, 60), at(61, 60), at(1, 0)]).toEqual([undefined, undefined, 'expired', 'expired'])
    expect([at(-60, 60), at(-61, 60), at(-61, 1e9)]).toEqual([undefined, 'early', 'early'])
  })

  test('counts for nothing where none is asked, even at the ends of time', () => {
    for (const madeSec of [0, Number.MAX_SAFE_INTEGER]) expect(fernet.decrypt(fernet.encrypt(Buffer.of(1), madeSec))).toEqual(Buffer.of(1))
    const last = fernet.encrypt(Buffer.of(1), Number.MAX_SAFE_INTEGER)
    expect(refusalOf(() => fernet.decrypt(last, { nowSec, ttlSec: 60 }))).toBe('early')
  })
})

test('a key has 32 bytes', () => {
  for (const length of [0, 16, 31, 33, 64]) expect(() => new Fernet(randomBytes(length))).toThrow(RangeError)
})

test('an error is a sentence and a word, and shows nothing of the token, the key or the message', () => {
  const token = fernet.encrypt(Buffer.from('the very secret'), nowSec)
  const refuse = () => new Fernet(randomBytes(32)).decrypt(token)
  expect(refuse).toThrow(new FernetError('forged'))
  try {
    refuse()
  } catch (error) {
    expect(Object.entries(error as object)).toEqual([
      ['name', 'FernetError'],
      ['refusal', 'forged'],
    ])
  }
})
