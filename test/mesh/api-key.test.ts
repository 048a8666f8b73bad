import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { keyEnvOf, newApiKey, parseApiKey } from '../../mesh/api-key.ts'

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const env = fc.constantFrom('local', 'test', 'dev', 'prod')
/** Keys as newApiKey makes them, shrunk by the numbers it drew. */
const key = fc
  .tuple(env, fc.array(fc.integer({ min: 0, max: 61 }), { minLength: 30, maxLength: 30 }))
  .map(([of, drawn]) => newApiKey(of, () => drawn.pop()!))

describe('an API key', () => {
  test('belongs to the environment that it was created for', () => {
    fc.assert(fc.property(env, (of) => void expect(parseApiKey(newApiKey(of))).toEqual({ env: of })))
  })

  test('is its prefix, its environment and 36 characters of base 62', () => {
    fc.assert(fc.property(key, (text) => void expect(text).toMatch(/^rly_(local|test|dev|prod)_[0-9A-Za-z]{36}$/)))
  })

  test('keeps its spelling: an issued key stays valid for ever', () => {
    let drawn = 0
    const text = newApiKey('test', () => drawn++)
    expect(text).toBe('rly_test_0123456789ABCDEFGHIJKLMNOPQRST3LRNh9')
    expect(parseApiKey(text)).toEqual({ env: 'test' })
  })

  test('has 30 characters, each drawn evenly from all 62', () => {
    const limits: number[] = []
    newApiKey('test', (limit) => (limits.push(limit), 0))
    expect(limits).toEqual(Array.from({ length: 30 }, () => 62))
    for (let index = 0; index < 62; index += 1) expect(newApiKey('test', () => index).slice(9, 39)).toBe(alphabet[index]!.repeat(30))
  })

  test('is rejected with any single wrong character', () => {
    const wrong = fc.oneof(fc.constantFrom(...alphabet), fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }))
    fc.assert(
      fc.property(key, fc.nat(), wrong, (text, place, character) => {
        const at = place % text.length
        fc.pre(text[at] !== character)
        expect(parseApiKey(text.slice(0, at) + character + text.slice(at + 1))).toBeUndefined()
      }),
    )
  })

  test('is rejected with two neighbours exchanged, cut short, or with anything around it', () => {
    fc.assert(
      fc.property(key, fc.nat(), (text, place) => {
        const at = place % (text.length - 1)
        fc.pre(text[at] !== text[at + 1])
        expect(parseApiKey(text.slice(0, at) + text[at + 1]! + text[at]! + text.slice(at + 2))).toBeUndefined()
        expect(parseApiKey(text.slice(0, at))).toBeUndefined()
        for (const other of [`${text}\n`, ` ${text}`, text + text, text.toUpperCase()]) expect(parseApiKey(other)).toBeUndefined()
      }),
    )
  })

  test('is not matched by chance: text of the right shape is rejected for its checksum', () => {
    const made = fc.tuple(env, fc.string({ unit: fc.constantFrom(...alphabet), minLength: 36, maxLength: 36 }))
    fc.assert(fc.property(made, ([of, rest]) => void expect(parseApiKey(`rly_${of}_${rest}`)).toBeUndefined()))
  })

  test('is not matched by arbitrary text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => void expect(parseApiKey(text)).toBeUndefined()))
  })
})

test.each([
  ['local', 'local'],
  ['test', 'test'],
  ['development', 'dev'],
  ['production', 'prod'],
] as const)('RELAY_ENV=%s has keys of %s', (environment, of) => expect(keyEnvOf(environment)).toBe(of))

test.each(['', 'staging', '__proto__', 'constructor'])('there are no keys for an environment %j', (environment) =>
  expect(() => keyEnvOf(environment)).toThrow(RangeError),
)
