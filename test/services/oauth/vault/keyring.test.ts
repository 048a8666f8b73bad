import { createHash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Fernet, FernetError } from '../../../../services/oauth/vault/fernet.ts'
import { KeyListError, KeyRing, kidOf, parseKeys } from '../../../../services/oauth/vault/keyring.ts'

const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64').replaceAll('+', '-').replaceAll('/', '_')
const newKey = () => base64url(randomBytes(32))
const kidOfKey = (key: string) => createHash('sha256').update(key).digest('hex').slice(0, 8)
const message = Buffer.from('a message')

describe('a list of keys', () => {
  test('is read in its order, whatever space there is around its commas', () => {
    const keys = [newKey(), newKey(), newKey()]
    expect(parseKeys(keys.join(','))).toEqual(keys)
    expect(parseKeys(` ${keys.join(' ,\n ')}\n`)).toEqual(keys)
  })

  const good = newKey()
  const noKey = 'is not a Fernet key, which is 32 bytes in base64url: 44 characters, the last of them ='
  test.each([
    ['nothing', '', 'is empty'],
    ['a hole', `${good},,${newKey()}`, 'has 3 keys, of which number 2 is empty'],
    ['a comma at the end', `${good},`, 'has 2 keys, of which number 2 is empty'],
    ['a word', 'secret', noKey],
    ['a second key that is too short', `${good},${base64url(randomBytes(31))}`, `has 2 keys, of which number 2 ${noKey}`],
    ['a key that is too long', base64url(randomBytes(33)), noKey],
    ['a key without its padding', newKey().slice(0, -1), noKey],
    ['a key in hexadecimal', randomBytes(32).toString('hex'), noKey],
    ['a key with bits left over', base64url(Buffer.alloc(32, 0xc5)).replace(/.=$/, 'V='), noKey],
    ['two keys and a space', `${newKey()} ${newKey()}`, noKey],
    [
      'standard base64',
      `${good},${Buffer.alloc(32, 0xfb).toString('base64')}`,
      'has 2 keys, of which number 2 is base64, not base64url: write - for + and _ for /',
    ],
    ['the same key again', `${newKey()},${good},${good}`, 'has 3 keys, of which number 3 is number 2 again'],
    ['seventeen keys', Array.from({ length: 17 }, newKey).join(','), 'has 17 keys, more than 16'],
  ])('is not taken with %s, and says which key it is', (_, text, why) => {
    expect(() => parseKeys(text)).toThrow(new KeyListError(why))
  })

  test.each([
    ['one byte again and again', Buffer.alloc(32, 7)],
    ['two halves that are the same', Buffer.alloc(32, randomBytes(16))],
    ['a word again and again', Buffer.alloc(32, 'secret')],
    ['bytes that count up', Buffer.from(Array.from({ length: 32 }, (_, index) => 200 + index * 7))],
    ['bytes that count down', Buffer.from(Array.from({ length: 32 }, (_, index) => 31 - index))],
    ['a sentence', Buffer.from('Sphinx of black quartz,judge me!')],
    ["the spec's own example", Buffer.from('cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=', 'base64url')],
  ])('is not taken with a key that anybody would try: %s', (_, key) => {
    expect(() => parseKeys(`${good},${base64url(key)}`)).toThrow(/number 2 is (not random|a published example)$/)
  })

  test('takes any key that is random', () => {
    for (let count = 0; count < 2000; count += 1) expect(parseKeys(newKey())).toHaveLength(1)
  })

  test('shows nothing of a key that it does not take', () => {
    const hostile = fc.string({ minLength: 6, maxLength: 60 }).filter((text) => !/^[ ,]|[ ,]$|,/.test(text))
    fc.assert(
      fc.property(hostile, (text) => {
        expect(() => parseKeys(`${good},${text}`)).toThrow(expect.objectContaining({ message: expect.not.stringContaining(text) }))
      }),
    )
  })
})

describe('a key ring', () => {
  const [a, b, c] = [newKey(), newKey(), newKey()]

  test('seals with its first key and says which that was', () => {
    const sealed = new KeyRing([a, b]).seal(message, 1)
    expect(sealed).toMatch(new RegExp(String.raw`^v1\.${kidOfKey(a)}\.gAAA[\w-]+={0,2}$`))
    expect([kidOf(sealed), new KeyRing([a, b]).firstKid, new KeyRing([b, a]).firstKid]).toEqual([kidOfKey(a), kidOfKey(a), kidOfKey(b)])
  })

  test('opens what any of its keys sealed, in whatever order they are listed, and nothing of a key that is gone', () => {
    const sealed = new KeyRing([a, b]).seal(message, 1)
    for (const keys of [[a], [b, a], [b, c, a]]) expect(new KeyRing(keys).open(sealed)).toEqual(message)
    for (const keys of [[b], [b, c]]) expect(() => new KeyRing(keys).open(sealed)).toThrow(FernetError)
  })

  test('opens by no other key than the one that is named', () => {
    const sealed = new KeyRing([a]).seal(message, 1)
    expect(() => new KeyRing([a, b]).open(sealed.replace(kidOfKey(a), kidOfKey(b)))).toThrow(FernetError)
  })

  test('opens bare tokens of all its keys, and takes none for a sealed one', () => {
    for (const key of [a, b, c]) {
      const bare = new Fernet(Buffer.from(key, 'base64url')).encrypt(message, 1)
      expect(kidOf(bare)).toBeUndefined()
      expect(new KeyRing([a, b, c]).openBare(bare)).toEqual(message)
      expect(() => new KeyRing([a, b, c]).open(bare)).toThrow(FernetError)
      expect(() => new KeyRing([newKey(), newKey()]).openBare(bare)).toThrow(FernetError)
    }
  })

  test('knows no other form', () => {
    const ring = new KeyRing([a])
    const sealed = ring.seal(message, 1)
    const token = sealed.split('.')[2]!
    const kid = kidOfKey(a)
    const kids = ['', kid.slice(1), `${kid}0`, kid.replace(/./, 'G')].map((other) => `v1.${other}.${token}`)
    const forms = [`v2.${kid}.${token}`, `v1.${kid}${token}`, `v1.${kid}.${token}.`, `v1.${kid}.`, ` ${sealed}`, `${sealed}\n`]
    for (const form of [...kids, ...forms, '', 'v1', 'v1.__proto__.x']) {
      expect(() => ring.open(form), form).toThrow(FernetError)
    }
  })

  test('is not made of a list that cannot be taken', () => {
    expect(() => new KeyRing([a, 'x'])).toThrow(KeyListError)
    expect(() => new KeyRing([])).toThrow(new KeyListError('is empty'))
    expect(() => new KeyRing([a, b, a])).toThrow(new KeyListError('has 3 keys, of which number 3 is number 1 again'))
  })
})
