import { createSecretKey } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { sign, standardWebhookHeaders, verify } from '#mesh/signature.ts'

const secret = 'a secret that is only in this test'
const body = Buffer.from('{"a":"ü"}')

const keyOf = (text: string) => createSecretKey(text, 'utf8')

describe('a signature', () => {
  const key = keyOf(secret)
  const good = sign(key, body)

  test('agrees with test case 2 of RFC 4231', () => {
    const signature = sign(keyOf('Jefe'), Buffer.from('what do ya want for nothing?'))
    expect(signature).toBe('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
  })

  test('verifies in either case of its digits', () => {
    expect(verify(key, body, good)).toBe(true)
    expect(verify(key, body, good.toUpperCase())).toBe(true)
  })

  test.each([
    ['of other bytes', sign(key, Buffer.from('{}'))],
    ['of another key', sign(keyOf('another'), body)],
    ['that is empty', ''],
    ['cut short', good.slice(0, 62)],
    ['with digits to spare', `${good}00`],
    ['with a prefix', `sha256=${good}`],
    ['with a newline after it', `${good}\n`],
    ['that is not hexadecimal', `g${good.slice(1)}`],
    ['in base64', Buffer.from(good, 'hex').toString('base64')],
  ])('%s does not verify', (_what, signature) => {
    expect(verify(key, body, signature)).toBe(false)
  })
})

describe('the headers of Standard Webhooks', () => {
  const message = { id: 'b3a5b0c0-0000-4000-8000-000000000001', timestampSeconds: Math.floor(Date.now() / 1000), body }
  const libraryOf = (text: string) => new Webhook(`whsec_${Buffer.from(text).toString('base64')}`)

  test('are verified by the reference library with any of the keys that signed, and with no other', () => {
    const headers = standardWebhookHeaders([keyOf('new'), keyOf('old')], message)
    for (const text of ['new', 'old']) {
      const webhook = libraryOf(text)
      expect(webhook.verify(body, headers)).toEqual({ a: 'ü' })
      expect(() => webhook.verify(Buffer.from('{"a":"u"}'), headers)).toThrow('No matching signature found')
      expect(() => webhook.verify(body, { ...headers, 'webhook-id': 'another' })).toThrow('No matching signature found')
    }
    expect(() => libraryOf('other').verify(body, headers)).toThrow('No matching signature found')
    expect(() => libraryOf('old').verify(body, standardWebhookHeaders([keyOf('new')], message))).toThrow('No matching signature found')
  })
})
