import { describe, expect, test } from 'vitest'
import { redactSecrets, redacted } from '../../../services/actions/redaction.ts'

const shown = (params: Record<string, unknown>, result?: Record<string, unknown>, error?: string) => redactSecrets({ params, result, error })

describe('what a run shows', () => {
  test.each([
    'Authorization', 'authorization', 'Proxy-Authorization', 'Cookie', 'Set-Cookie', 'X-Api-Key', 'api_key', 'apiKey', 'password', 'passwd',
    'client_secret', 'clientSecret', 'token', 'accessToken', 'refresh_token', 'X-Signature', 'private_key', 'credentials',
  ])('hides the value of %s, however deep it is', (name) => {
    const value = { headers: { [name]: 'a very secret value' }, list: [{ [name]: { nested: 'also secret' } }] }
    expect(shown(value).params).toEqual({ headers: { [name]: redacted }, list: [{ [name]: redacted }] })
  })

  test.each(['monkey', 'token_count', 'author', 'keyboard', 'secretary', 'subject', 'key', 'tokenizer'])('leaves %s as it is', (name) => {
    expect(shown({ [name]: 'plain' }).params).toEqual({ [name]: 'plain' })
  })

  test.each([
    ['https://ada:hunter2222@example.com/a?b=c', `https://${redacted}@example.com/a?b=c`],
    ['https://example.com/hook?token=abcdefgh&x=1#end', `https://example.com/hook?token=${redacted}&x=1#end`],
    ['https://example.com/hook?sig=abc&api_key=x', `https://example.com/hook?sig=${redacted}&api_key=${redacted}`],
    ['HTTP://example.com/?page=2&sort=key', 'HTTP://example.com/?page=2&sort=key'],
  ])('hides what is secret in the URL %s', (url, expected) => {
    expect(shown({ url }).params).toEqual({ url: expected })
  })

  test('hides a secret that the answer or the error repeats, and nothing else of them', () => {
    const { result, error } = shown(
      { headers: { Authorization: 'Bearer abcdefgh' } },
      { status_code: 401, response: 'no: Bearer abcdefgh is unknown', more: ['Bearer abcdefgh'] },
      'WEBHOOK_STATUS: 401: no: Bearer abcdefgh is unknown',
    )
    expect(result).toEqual({ status_code: 401, response: `no: ${redacted} is unknown`, more: [redacted] })
    expect(error).toBe(`WEBHOOK_STATUS: 401: no: ${redacted} is unknown`)
  })

  test('leaves what it was given as it is', () => {
    const params = { headers: { token: 'abcdefgh' } }
    shown(params)
    expect(params).toEqual({ headers: { token: 'abcdefgh' } })
  })
})
