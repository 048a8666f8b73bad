import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hashOf, newNonce, readStateToken, writeReference } from '../../../../services/oauth/connect/state-token.ts'

const workspace = fc.oneof(fc.stringMatching(/^[a-z0-9._:-]{1,128}$/), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }))
const nonce = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64url'))
const wellFormed = (text: string) => Buffer.from(text).toString() === text && text !== ''

test('a written reference is read back, and only its hash is stored', () => {
  fc.assert(
    fc.property(workspace.filter(wellFormed), nonce, (name, secret) => {
      const text = writeReference(name, secret)
      fc.pre(text.length <= 256)
      expect(readStateToken(text)).toEqual({ workspace: name, hash: hashOf(secret) })
    }),
  )
})

test('each reference has one spelling: whatever can be read is what is written', () => {
  const near = fc.tuple(workspace, nonce, fc.nat(300), fc.string({ maxLength: 2 })).map(([name, secret, at, other]) => {
    const text = writeReference(name, secret)
    return text.slice(0, at % text.length) + other + text.slice((at % text.length) + 1)
  })
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 300 }), near), (text) => {
      const read = readStateToken(text)
      if (read === undefined) return
      const [, secret] = text.split('.')
      expect(writeReference(read.workspace, secret!)).toBe(text)
      expect(read.hash).toBe(hashOf(secret!))
    }),
  )
})

const secret = 'A'.repeat(43)
test.each([
  ['nothing', ''],
  ['no nonce', 'YWNtZQ'],
  ['no workspace', `.${secret}`],
  ['a short nonce', `YWNtZQ.${secret.slice(1)}`],
  ['a long nonce', `YWNtZQ.${secret}A`],
  ['bits that mean nothing in the nonce', `YWNtZQ.${'A'.repeat(42)}B`],
  ['bits that mean nothing in the workspace', `YWNtZR.${secret}`],
  ['padding', `YWNtZQ==.${secret}`],
  ['a workspace that is no UTF-8', `_w8A.${secret}`],
  ['another alphabet', `YWNtZQ.${'+'.repeat(43)}`],
  ['a line after it', `YWNtZQ.${secret}\n`],
  ['more parts', `YWNtZQ.${secret}.x`],
])('%s is no reference', (_, text) => {
  expect(readStateToken(text)).toBeUndefined()
})

test('a nonce has 256 random bits', () => {
  const nonces = new Set(Array.from({ length: 100 }, newNonce))
  expect(nonces.size).toBe(100)
  for (const each of nonces) expect(Buffer.from(each, 'base64url')).toHaveLength(32)
})
