import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { redactSecrets, redacted } from '../../../../services/actions/redaction/redaction.ts'

const shown = (params: Record<string, unknown>, result?: Record<string, unknown>, error?: string) =>
  redactSecrets({ params, result, error })

describe('what a run shows', () => {
  test.each([
    'Authorization',
    'authorization',
    'Proxy-Authorization',
    'Cookie',
    'Set-Cookie',
    'X-Api-Key',
    'api_key',
    'apiKey',
    'password',
    'passwd',
    'client_secret',
    'clientSecret',
    'token',
    'accessToken',
    'refresh_token',
    'X-Signature',
    'private_key',
    'credentials',
    'pwd',
    'userPwd',
    'passcode',
    'otp',
    'bearer',
    'X-Auth',
    'x-auth-key',
    'xAuthUser',
    'private_key_pem',
    'privateKeyPem',
    'password2',
    'api_keys',
    ' Cookie ',
  ])('hides the value of %s, however deep it is', (name) => {
    const value = { headers: { [name]: 'a very secret value' }, list: [{ [name]: { nested: 'also secret' } }] }
    expect(shown(value).params).toEqual({ headers: { [name]: redacted }, list: [{ [name]: redacted }] })
  })

  test.each([
    'monkey',
    'token_count',
    'author',
    'keyboard',
    'secretary',
    'subject',
    'key',
    'tokenizer',
    'x-author',
    'laptop',
    'forbearer',
    'public_key_pem',
  ])('leaves %s as it is', (name) => {
    expect(shown({ [name]: 'plain' }).params).toEqual({ [name]: 'plain' })
  })

  test.each([
    ['https://ada:hunter2222@example.com/a?b=c', `https://${redacted}@example.com/a?b=c`],
    ['https://example.com/hook?token=abcdefgh&x=1#end', `https://example.com/hook?token=${redacted}&x=1#end`],
    ['https://example.com/hook?sig=abc&api_key=x', `https://example.com/hook?sig=${redacted}&api_key=${redacted}`],
    ['https://example.com/#access_token=abcdefgh&state=1', `https://example.com/#access_token=${redacted}&state=1`],
    ['https://example.com/?x=1#/route?id_token=abc', `https://example.com/?x=1#/route?id_token=${redacted}`],
    ['https://example.com/?a=1;token=abc?d;e&b=2', `https://example.com/?a=1;token=${redacted}&b=2`],
    ['https://example.com/?user[password]=abc&to%6ben=def', `https://example.com/?user[password]=${redacted}&to%6ben=${redacted}`],
    ['https:\\\\ada:hunter2222@example.com', `https:\\\\${redacted}@example.com`],
    ['https://example.com/a;token=abc/b&key=def', `https://example.com/a;token=${redacted}&key=${redacted}`],
    ['https://example.com/?token=&x=a@b', 'https://example.com/?token=&x=a@b'],
    ['HTTP://example.com/?page=2&sort=key', 'HTTP://example.com/?page=2&sort=key'],
  ])('hides what is secret in the URL %s', (url, expected) => {
    expect(shown({ url }).params).toEqual({ url: expected })
  })

  test.each([
    ['See https://ada:hunter2222@example.com/a today', `See https://${redacted}@example.com/a today`],
    ['<a href="https://example.com/?token=abcdefgh">reset</a>', `<a href="https://example.com/?token=${redacted}">reset</a>`],
    [
      'one\nhttps://a.example/?sig=abc\nHTTP://b.example/?key=def x=1',
      `one\nhttps://a.example/?sig=${redacted}\nHTTP://b.example/?key=${redacted} x=1`,
    ],
    ['a token=abc is no URL, nor is https: //a?token=abc', 'a token=abc is no URL, nor is https: //a?token=abc'],
    ['see https://example.com/?page=2.', 'see https://example.com/?page=2.'],
  ])('hides what is secret in URLs within the text %j', (text, expected) => {
    expect(shown({ text }).params).toEqual({ text: expected })
  })

  test('hides a secret of a URL within a text where the answer repeats it', () => {
    const { result } = shown({ text: 'Reset: https://example.com/?token=abcdefgh now' }, { response: 'got abcdefgh' })
    expect(result).toEqual({ response: `got ${redacted}` })
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

  test.each([
    ['a number', { pin: { password: 12345678 } }, 'you sent 12345678', `you sent ${redacted}`],
    ['what JSON escapes', { password: 'pass"word\\123/ü' }, JSON.stringify({ echo: 'pass"word\\123/ü' }), `{"echo":"${redacted}"}`],
    ['what JSON escapes as ASCII', { password: 'grün/weiß\u{1f511}' }, 'no: gr\\u00fcn\\/wei\\u00DF\\ud83d\\udd11!', `no: ${redacted}!`],
    ['what JSON escapes twice', { password: 'pass"word' }, JSON.stringify(JSON.stringify('pass"word')), `"\\"${redacted}\\""`],
    ['what a URL encodes', { password: 'a/b cdef' }, 'a%2fb%20cdef and a%2Fb+cdef', `${redacted} and ${redacted}`],
    ['what a URL had encoded', { url: 'https://example.com/?token=a%2Fbcdefgh' }, 'a/bcdefgh or a%2fbcdefgh', `${redacted} or ${redacted}`],
    ['a fragment', { url: 'https://example.com/#access_token=abcdefgh' }, 'abcdefgh', redacted],
    ['what follows the scheme', { Authorization: 'Bearer abcdefgh' }, 'abcdefgh?', `${redacted}?`],
    ['two that overlap', { tokens: ['abcdefgh', 'efghijkl'] }, '<abcdefghijkl>', `<${redacted}>`],
    [
      'one within another',
      { tokens: ['abcdefghijkl', 'defghi'] },
      'defghi abcdefghijk, abcdefghijkl.',
      `${redacted} abc${redacted}jk, ${redacted}.`,
    ],
    ['the beginning of one at the end of a text that was cut', { token: 'abcdefghijkl' }, 'unknown: abcdefg', `unknown: ${redacted}`],
  ])('hides the echo of %s', (_, params, echo, expected) => {
    expect(shown(params, { response: echo }, `WEBHOOK_STATUS: 401: ${echo}`)).toMatchObject({
      result: { response: expected },
      error: `WEBHOOK_STATUS: 401: ${expected}`,
    })
  })

  test('hides a number that the answer repeats as a number, and no other', () => {
    expect(shown({ password: 12345678 }, { status_code: 401, echo: 12345678 }).result).toEqual({ status_code: 401, echo: redacted })
  })

  test.each([
    [
      { name: 'Authorization', value: 'Bearer abcdefgh' },
      { name: 'Authorization', value: redacted },
    ],
    [
      { key: 'api_key', value: 12345678, enabled: true },
      { key: 'api_key', value: redacted, enabled: true },
    ],
    [
      { Name: 'password', Value: { nested: 'abcdefgh' } },
      { Name: 'password', Value: redacted },
    ],
    [
      { name: 'Accept', value: 'text/plain' },
      { name: 'Accept', value: 'text/plain' },
    ],
  ])('hides the value of a pair whose name is of a secret: %j', (pair, expected) => {
    const { params, result } = shown({ headers: [pair] }, { response: 'Bearer abcdefgh, 12345678' })
    expect(params).toEqual({ headers: [expected] })
    expect(JSON.stringify(result)).not.toContain(JSON.stringify(pair).includes('Bearer') ? 'Bearer abcdefgh' : 'never')
  })

  test('of an answer that may repeat more secrets than are looked for, hides every text, and the error after its reason', () => {
    const tokens = Array.from({ length: 2000 }, (_, index) => `a-secret-of-some-length-${index}`)
    expect(shown({ tokens }, { status_code: 401, response: 'some text', more: { id: 1234567 } }, 'WEBHOOK_STATUS: 401: some text')).toEqual(
      {
        params: { tokens: redacted },
        result: { status_code: 401, response: redacted, more: { id: redacted } },
        error: `WEBHOOK_STATUS: ${redacted}`,
      },
    )
  })

  test('leaves what it was given as it is', () => {
    const params = { headers: { token: 'abcdefgh' } }
    shown(params)
    expect(params).toEqual({ headers: { token: 'abcdefgh' } })
  })

  describe('of any parameters and answers', () => {
    const piece = fc.constantFrom(
      'https://',
      'ada:',
      '@',
      '?',
      '#',
      '&',
      '=',
      ';',
      'token',
      'key',
      redacted,
      '[redac',
      'abcdefgh',
      '\\',
      '\\u00',
      '%',
      '%2',
      '+',
      ' ',
      'ü',
      '\ud800',
    )
    const text = fc.oneof(
      fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
      fc.string({ unit: 'binary' }),
    )
    const name = fc.oneof(fc.constantFrom('token', 'name', 'value', 'key', 'Authorization', '__proto__', 'note'), text)
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        text,
        fc.double(),
        fc.constant(null),
        fc.boolean(),
        fc.array(tie('tree'), { maxLength: 4 }),
        fc.dictionary(name, tie('tree'), { maxKeys: 4 }),
      ),
    }))
    const object = fc.dictionary(name, tree, { maxKeys: 5 })
    const run = fc.record({ params: object, result: fc.option(object, { nil: undefined }), error: fc.option(text, { nil: undefined }) })

    test('shows the same when it is shown again', () => {
      fc.assert(
        fc.property(run, (given) => {
          const once = redactSecrets(given)
          expect(redactSecrets(once)).toEqual(once)
        }),
      )
    })

    test('shows no secret that the other side repeats, however it encodes it', () => {
      const encodings = [
        (each: string) => each,
        encodeURIComponent,
        (each: string) => JSON.stringify(each),
        (each: string) => JSON.stringify({ deep: JSON.stringify({ each }) }),
        (each: string) => JSON.stringify(encodeURIComponent(each)),
        (each: string) => new URLSearchParams({ each: JSON.stringify(each) }).toString(),
      ]
      // Letters beside it that none of it has: the rest of what comes back is known.
      const secret = fc.string({ unit: fc.constantFrom(...'kqwü"\\/%+& \u{1f511}'), minLength: 6 })
      fc.assert(
        fc.property(secret, fc.constantFrom(...encodings), (token, encode) => {
          const { result } = redactSecrets({ params: { token }, result: { response: `ACE ${encode(token)} ACE` }, error: undefined })
          expect(result!['response']).toMatch(/^ACE .*\[redacted\].* ACE$/)
          expect(result!['response']).not.toMatch(/[kqwü\u{1f511}]/u)
        }),
      )
    })
  })
})
