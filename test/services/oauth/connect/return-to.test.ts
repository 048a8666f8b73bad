import fc from 'fast-check'
import { expect, test } from 'vitest'
import { returnUrl } from '../../../../services/oauth/connect/return-to.ts'

const origins = ['https://studio.example.com', 'http://localhost:3000']

test.each([
  'https://studio.example.com',
  'https://studio.example.com/a?b=c#d',
  'http://localhost:3000/x',
  'HTTPS://STUDIO.example.com:443/',
])('%s is at an origin of the list', (text) => {
  expect(origins).toContain(returnUrl(text, origins)?.origin)
})

test.each([
  '',
  '/settings',
  '//studio.example.com/',
  'https://studio.example.com.evil.example/',
  'https://studio.example.com@evil.example/',
  'https://evil.example/https://studio.example.com',
  'https://user:password@studio.example.com/',
  'http://studio.example.com/',
  'https://studio.example.com:8443/',
  'https://localhost:3000/',
  'http://localhost:3001/',
  'https:\\\\studio.example.com\\',
  'https://studio.example.com\t.evil.example/',
  ' https://studio.example.com/',
  'javascript:alert(1)//https://studio.example.com',
  'data:text/html,x',
  'blob:https://studio.example.com/1',
])('%s is not', (text) => {
  expect(returnUrl(text, origins)).toBeUndefined()
})

test('nothing gets out of the list, however it is written', () => {
  const hosts = ['studio.example.com', 'evil.example', '.', ':', '443', '@']
  const piece = fc.constantFrom('https:', 'http:', '//', '/', '\\', '%2f', '#', '?', ...hosts)
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
      const url = returnUrl(pieces.join(''), origins)
      if (url !== undefined) expect(origins).toContain(new URL(url.href).origin)
    }),
  )
})
