import { createHmac, hkdfSync } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { sign, standardWebhookHeaders, verify, workspaceSigningKey } from '#mesh/signature.ts'

const secret = 'a secret that is only in this test'
const body = Buffer.from('{"a":"ü"}')

/** The key bytes as a receiver would make them, by the words of the module's head. */
function receiverKey(workspace: string): Buffer {
  if (workspace === 'default') return Buffer.from(secret)
  return Buffer.from(hkdfSync('sha256', secret, 'relay/signature/v1', `workspace:${workspace}`, 32))
}

describe('the key of a workspace', () => {
  test('is the raw secret for the workspace named default, as old receivers expect', () => {
    expect(sign(workspaceSigningKey(secret, 'default'), body)).toBe(createHmac('sha256', secret).update(body).digest('hex'))
  })

  test('is derived as documented for every other workspace', () => {
    const expected = createHmac('sha256', receiverKey('acme')).update(body).digest('hex')
    expect(sign(workspaceSigningKey(secret, 'acme'), body)).toBe(expected)
  })

  test('differs between workspaces, and between secrets, however they run together', () => {
    const keys = [['bc', 'a'], ['c', 'ab'], ['abc', ''], [secret, 'acme'], [secret, 'Acme'], [secret, 'default']] as const
    expect(new Set(keys.map(([one, workspace]) => sign(workspaceSigningKey(one, workspace), body))).size).toBe(keys.length)
  })

  test('stays the same when it has long been pushed out of the cache', () => {
    const before = workspaceSigningKey(secret, 'acme')
    expect(workspaceSigningKey(secret, 'acme')).toBe(before)
    for (let i = 0; i < 1001; i++) workspaceSigningKey(secret, `other-${i}`)
    const after = workspaceSigningKey(secret, 'acme')
    expect(after).not.toBe(before)
    expect(after.equals(before)).toBe(true)
  })

  test('is not made of an empty secret', () => {
    expect(() => workspaceSigningKey('', 'default')).toThrow('The signing secret is empty.')
  })
})

describe('a signature', () => {
  const key = workspaceSigningKey(secret, 'default')
  const good = sign(key, body)

  test('agrees with test case 2 of RFC 4231', () => {
    const signature = sign(workspaceSigningKey('Jefe', 'default'), Buffer.from('what do ya want for nothing?'))
    expect(signature).toBe('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
  })

  test('verifies in either case of its digits', () => {
    expect(verify(key, body, good)).toBe(true)
    expect(verify(key, body, good.toUpperCase())).toBe(true)
  })

  test.each([
    ['of other bytes', sign(key, Buffer.from('{}'))],
    ['of another workspace', sign(workspaceSigningKey(secret, 'acme'), body)],
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
  test.each(['default', 'acme'])('are verified by the reference library with the documented secret of workspace %s', (workspace) => {
    const headers = standardWebhookHeaders(workspaceSigningKey(secret, workspace), {
      id: 'b3a5b0c0-0000-4000-8000-000000000001',
      timestampSeconds: Math.floor(Date.now() / 1000),
      body,
    })
    const webhook = new Webhook(`whsec_${receiverKey(workspace).toString('base64')}`)
    expect(webhook.verify(body, headers)).toEqual({ a: 'ü' })
    expect(() => webhook.verify(Buffer.from('{"a":"u"}'), headers)).toThrow('No matching signature found')
    expect(() => webhook.verify(body, { ...headers, 'webhook-id': 'another' })).toThrow('No matching signature found')
  })
})
