import { describe, expect, test } from 'vitest'
import { bearerToken } from '#mesh/grpc/caller.ts'

const key = 'a-token-of-these-tests'

describe('an Authorization header', () => {
  test('gives the token of the Bearer scheme, however the scheme is written', () => {
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) expect(bearerToken(`${scheme} ${key}`)).toBe(key)
    expect(bearerToken('Bearer   a.b-c_~+/=')).toBe('a.b-c_~+/=')
  })

  test.each([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    key,
    `Basic ${key}`,
    `Bearer ${key} x`,
    `Bearer ${key}\n`,
    'Bearer ä',
    `Bearer ${'a'.repeat(5000)}`,
  ])('that is anything else gives none: %#', (header) => {
    expect(bearerToken(header)).toBeUndefined()
  })
})
