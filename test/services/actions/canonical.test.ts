import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MeshError } from '#mesh/errors.ts'
import { canonicalBytes, fingerprint, parseCanonical } from '../../../services/actions/canonical.ts'

const refused = (params: unknown): string[] => {
  try {
    canonicalBytes(params)
  } catch (error) {
    if (error instanceof MeshError && error.reason === 'INVALID_PARAMS') return error.violations.map((each) => each.field)
    throw error
  }
  return []
}

/** JSON values that Relay accepts: what JSON can say, numbers exact, text proper. */
const json = fc.jsonValue({ maxDepth: 5 }).filter((value) => refused({ value }).length === 0)

/** The same value with the keys of its objects in another order. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, shuffled(item)]),
  )
}

describe('canonical parameters', () => {
  test('are the same bytes whatever the order of keys', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(canonicalBytes(shuffled({ value }))).toEqual(canonicalBytes({ value }))
      }),
    )
  })

  test('say exactly what was given, and become the same bytes again', () => {
    fc.assert(
      fc.property(json, (value) => {
        const bytes = canonicalBytes({ value })
        // Canonical JSON has no negative zero (RFC 8785, 3.2.2.3), nor has JSON.stringify.
        expect(parseCanonical(bytes)).toEqual(JSON.parse(JSON.stringify({ value })))
        expect(canonicalBytes(parseCanonical(bytes))).toEqual(bytes)
      }),
    )
  })

  test('follow RFC 8785 in sorting by UTF-16 units and in numbers', () => {
    const given = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\u{1f600}': 5, '\u0080': 6, '\u00f6': 7, n: [0.002, 1e-27, -0] }
    expect(canonicalBytes(given).toString()).toBe(
      '{"\\r":2,"1":4,"n":[0.002,1e-27,0],"\u0080":6,"\u00f6":7,"\u20ac":1,"\u{1f600}":5,"\ufb33":3}',
    )
  })

  test('keep every number that a double represents, also beyond 2^53', () => {
    const bytes = canonicalBytes({ n: [1e20, 2 ** 53 + 2, -1.7976931348623157e308, 1e21] })
    expect(bytes.toString()).toBe('{"n":[100000000000000000000,9007199254740994,-1.7976931348623157e+308,1e+21]}')
    expect(canonicalBytes(parseCanonical(bytes))).toEqual(bytes)
  })

  test.each([
    ['a value without a kind', { list: [1, undefined] }, 'params.list.1'],
    ['a member without a kind', { a: { b: undefined } }, 'params.a.b'],
    ['a number that is none', { deep: [{ n: Number.NaN }] }, 'params.deep.0.n'],
    ['infinity', { n: -Infinity }, 'params.n'],
    ['half a character', { s: '\ud800' }, 'params.s'],
    ['a NUL, which Postgres cannot keep', { s: 'a\0b' }, 'params.s'],
    [
      'another prototype, through which values could be read that no bytes show',
      { o: Object.create({ url: 'http://evil' }) as object },
      'params.o',
    ],
    ['an own "__proto__" key', { o: JSON.parse('{"__proto__":1}') as object }, 'params.o'],
  ])('refuse %s, naming the field', (_, params, field) => {
    expect(refused(params)).toEqual([field])
  })

  test('reject unlimited nesting', () => {
    let value: unknown = 1
    for (let depth = 0; depth < 10_000; depth += 1) value = [value]
    expect(refused({ value })).toHaveLength(1)
  })
})

describe('the fingerprint', () => {
  test('differs when the action, the parameters or the connection differ, wherever the boundary lies', () => {
    const b = (text: string) => Buffer.from(text)
    const all = [
      fingerprint('a', b('{}'), undefined),
      fingerprint('a{', b('}'), undefined),
      fingerprint('a', b('{}c'), undefined),
      fingerprint('a', b('{}'), 'c'),
      fingerprint('b', b('{}'), undefined),
    ].map((each) => each.toString('hex'))
    expect(new Set(all).size).toBe(all.length)
    expect(fingerprint('a', b('{}'), undefined)).toHaveLength(32)
  })
})
