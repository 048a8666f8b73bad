import { describe, expect, test } from 'vitest'
import { MeshError } from '#mesh/errors.ts'
import { deepestJson, parseJsonObject } from '../../../gateway/transcoding/json.ts'

const parse = (text: string | Uint8Array) => parseJsonObject(typeof text === 'string' ? Buffer.from(text) : text)

function refusal(text: string | Uint8Array): MeshError {
  try {
    parse(text)
  } catch (error) {
    expect(error).toBeInstanceOf(MeshError)
    expect((error as MeshError).reason).toBe('INVALID_JSON')
    return error as MeshError
  }
  throw new Error('was accepted')
}

const nested = (levels: number) => `${'{"a":'.repeat(levels - 1)}{}${'}'.repeat(levels - 1)}`

describe('strict JSON', () => {
  test('takes what means exactly what it says', () => {
    expect(parse('{"a":[1,-0.5,1e3,"\\u00e9\\ud83d\\ude00",null,true,{"a":{},"b":[]}],"":0}')).toEqual({
      a: [1, -0.5, 1000, 'é😀', null, true, { a: {}, b: [] }],
      '': 0,
    })
  })

  test('takes the same key in different objects', () => {
    expect(parse('{"a":{"x":1},"b":[{"x":1},{"x":2}],"x":3}')).toEqual({ a: { x: 1 }, b: [{ x: 1 }, { x: 2 }], x: 3 })
  })

  test.each([
    ['a key twice', '{"params":{"body":{"a":1,"b":2,"a":3}}}', 'params.body.a'],
    ['a key twice, spelled with an escape', '{"params":{"a":1,"\\u0061":2}}', 'params.a'],
    ['a key twice in an item', '{"items":[{"b":1},{"b":1,"b":2}]}', 'items.1.b'],
    ['__proto__', '{"params":{"__proto__":{"admin":true}}}', 'params.__proto__'],
    ['__proto__ spelled with an escape', '{"params":{"__pr\\u006fto__":1}}', 'params.__proto__'],
    ['an integer beyond 2^53', '{"a":{"n":9007199254740993}}', 'a.n'],
    ['an integer beyond -2^53', '{"a":[0,-9007199254740993]}', 'a.1'],
    ['a large integer that would be rounded', '{"n":100000000000000000001}', 'n'],
    ['2^64, which would be written back as another number', '{"n":18446744073709551616}', 'n'],
    ['an integer that would be rounded, with an exponent', '{"n":9007199254740993e0}', 'n'],
    ['an integer that would be rounded, with an exponent and a fraction', '{"n":9.007199254740993e15}', 'n'],
    ['an integer beyond 2^53 with a fraction', '{"n":9007199254740993.0}', 'n'],
    ['a number that overflows', '{"n":1e400}', 'n'],
    ['a number that overflows below', '{"n":-1e400}', 'n'],
    ['half of a surrogate pair', '{"a":"x\\ud800y"}', 'a'],
    ['half of a surrogate pair in a key', '{"a":{"ok":1,"\\udc00":1}}', 'a.\ufffd'],
    ['NUL', '{"a":["ok","no\\u0000"]}', 'a.1'],
    ['NUL in a key', '{"ok":1,"a\\u0000":1}', 'a\0'],
    ['too many levels', nested(deepestJson + 1), 'a'],
  ])('refuses %s, naming the field', (_what, text, field) => {
    const { violations, message } = refusal(text)
    expect(violations).toHaveLength(1)
    if (_what === 'too many levels') expect(violations[0]!.field).toMatch(/^a(\.a)+$/)
    else expect(violations[0]!.field).toBe(field)
    expect(message).toContain(field)
  })

  test.each([
    ['2^53 itself', '{"n":9007199254740992}', 2 ** 53],
    ['-2^53 itself', '{"n":-9007199254740992}', -(2 ** 53)],
    ['a number with an exponent, which is a double', '{"n":6.02214076e23}', 6.02214076e23],
    ['1e20, which is exact', '{"n":1e20}', 1e20],
    ['1e20 in digits, as it is written back', '{"n":100000000000000000000}', 1e20],
    ['an even number beyond 2^53', '{"n":9007199254740994}', 2 ** 53 + 2],
    ['1e23, which is written back as it came', '{"n":1E+23}', 1e23],
    ['the largest number there is', '{"n":-1.7976931348623157e308}', -Number.MAX_VALUE],
    ['the smallest number there is', '{"n":5e-324}', 5e-324],
    ['a long fraction', '{"n":3.141592653589793238462643}', Math.PI],
    ['minus zero', '{"n":-0}', -0],
  ])('takes %s', (_what, text, n) => {
    expect(parse(text)).toEqual({ n })
  })

  test.each([
    ['nothing', ''],
    ['white space', ' \n'],
    ['a list', '[1]'],
    ['null', 'null'],
    ['a text', '"a"'],
    ['a number', '1'],
    ['a comment', '{"a":1}//'],
    ['a trailing comma', '{"a":1,}'],
    ['single quotes', "{'a':1}"],
    ['NaN', '{"a":NaN}'],
    ['a leading zero', '{"a":01}'],
    ['two values', '{}{}'],
    ['a control character in a text', '{"a":"\n"}'],
    ['a byte order mark', '\ufeff{}'],
    ['an unfinished object', '{"a":'],
  ])('refuses %s', (_what, text) => {
    expect(refusal(text).violations).toEqual([])
  })

  test.each([
    ['a continuation byte alone', [0x7b, 0x22, 0x80, 0x22, 0x3a, 0x31, 0x7d]],
    ['an overlong slash', [0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d]],
    ['an encoded surrogate', [0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d]],
    ['UTF-16', [...Buffer.from('{"a":1}', 'utf16le')]],
  ])('refuses bytes that are not UTF-8: %s', (_what, bytes) => {
    expect(refusal(Uint8Array.from(bytes)).message).toMatch(/UTF-8|JSON/)
  })

  test('says where the grammar fails', () => {
    expect(refusal('{"a":1,\n  b}').message).toContain('line 2 column 3')
  })

  test(`takes ${deepestJson} levels, and refuses a megabyte of them at once`, () => {
    expect(parse(nested(deepestJson))).toBeTypeOf('object')
    refusal(`{"a":${'['.repeat(500_000)}${']'.repeat(500_000)}}`)
    refusal(`{"a":${'['.repeat(500_000)}`)
  })
})
