import fc from 'fast-check'
import { visit } from 'jsonc-parser'
import { describe, expect, test } from 'vitest'
import { MeshError } from '#mesh/errors.ts'
import { parseJsonObject } from '../../gateway/transcoding/json.ts'

const accepted = (text: string | Uint8Array): unknown => {
  try {
    return parseJsonObject(typeof text === 'string' ? Buffer.from(text) : text)
  } catch (error) {
    // Whatever comes in, the answer is a refusal of ours.
    if (error instanceof MeshError && error.reason === 'INVALID_JSON') return undefined
    throw error
  }
}

/** Whether any object has a key twice, told by another parser. */
function hasDuplicate(text: string): boolean {
  const open: Set<string>[] = []
  let found = false
  visit(text, {
    onObjectBegin: () => void open.push(new Set()),
    onObjectEnd: () => void open.pop(),
    onObjectProperty: (key) => {
      found ||= open.at(-1)!.has(key)
      open.at(-1)!.add(key)
    },
  })
  return found
}

/** JSON text with few different keys, white space, escapes at will, and keys that come twice. */
const { value } = fc.letrec<{ value: string; object: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('null', 'true', 'false', '0', '-1.5e3', '12345678901234567890', '""', '"a\\"b"', '"\\\\"', '"{\\"a\\":1}"', '[]', '{}'),
    tie('object'),
    fc.array(tie('value'), { maxLength: 3 }).map((items) => `[ ${items.join(' ,')}]`),
  ),
  object: fc
    .array(fc.tuple(fc.constantFrom('"a"', '"b"', '"\\u0061"', '"a\\\\"', '"\\"a"', '""', '"\\/"', '"/"'), tie('value')), { maxLength: 4 })
    .map((entries) => `{${entries.map(([key, each]) => `${key} :\t${each}`).join(',\n')}}`),
}))

describe('strict JSON', () => {
  test('gives what JSON.parse gives, for whatever it takes', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), (object) => {
        const text = JSON.stringify(object)
        const result = accepted(text)
        if (result !== undefined) expect(result).toEqual(JSON.parse(text))
      }),
    )
  })

  test('takes every object without what it exists to refuse', () => {
    const plain = fc.string({ unit: 'grapheme' }).filter((each) => each.isWellFormed() && !each.includes('\0') && each !== '__proto__')
    const number = fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e15, max: 1e15 }))
    const { json } = fc.letrec((tie) => ({
      json: fc.oneof(
        { depthSize: 'small' },
        plain,
        number,
        fc.boolean(),
        fc.constant(null),
        fc.array(tie('json')),
        fc.dictionary(plain, tie('json')),
      ),
    }))
    fc.assert(
      fc.property(fc.dictionary(plain, json), (object) => {
        expect(accepted(JSON.stringify(object))).toEqual(JSON.parse(JSON.stringify(object)))
      }),
    )
  })

  test('refuses an object exactly when a key comes twice, however it is spelled and wherever', () => {
    const digits = /12345678901234567890/
    fc.assert(
      fc.property(value, (each) => {
        const text = `{"v":${each}}`
        if (digits.test(text)) expect(accepted(text)).toBeUndefined()
        else expect(accepted(text) === undefined).toBe(hasDuplicate(text))
      }),
    )
  })

  test('answers any bytes with an object or a refusal', () => {
    const almost = fc.string({ unit: fc.constantFrom(...'{}[]",:\\u0019e-+. tfn') })
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          almost.map((each) => Buffer.from(`{${each}}`)),
          fc.string().map((each) => Buffer.from(each)),
        ),
        (bytes) => {
          const result = accepted(bytes)
          if (result !== undefined) expect(result).toEqual(JSON.parse(Buffer.from(bytes).toString()))
        },
      ),
    )
  })

  test('keeps every integer that it takes', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }), (integer) => {
        const result = accepted(`{"n":${integer}}`) as { n: number } | undefined
        expect(result === undefined).toBe(integer > 2n ** 53n || integer < -(2n ** 53n))
        if (result !== undefined) expect(BigInt(result.n)).toBe(integer)
      }),
    )
  })
})
