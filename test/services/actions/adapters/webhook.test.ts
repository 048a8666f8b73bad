import { createHmac, createSecretKey, hkdfSync } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import tls from 'node:tls'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { webhookSecretOf } from '#mesh/signature-keys.ts'
import { SignatureStates } from '#mesh/signature-states.ts'
import type { WebhookOptions } from '../../../../services/actions/adapters/webhook.ts'
import { selfSignedCertificate } from '../../../fakes/certificate.ts'
import { previewing, run, runId, stored } from '../adapter-harness.ts'
import { adapter, expectError, loopback, publicAdapter, receive, send, signingSecret } from '../webhook-harness.ts'

describe('a preview', () => {
  const preview = (json: unknown, options: Partial<WebhookOptions> = {}) => {
    const webhook = publicAdapter(options)
    return webhook.preview(webhook.params.parse(json), previewing())
  }

  test('shows the request in the form that clients know', async () => {
    expect(await preview({ url: 'https://example.com/hook', method: 'POST', body: { test: 'hello' } })).toEqual({
      params: { url: 'https://example.com/hook', method: 'POST', body: { test: 'hello' } },
      summary: 'Send POST request to https://example.com/hook\nRequest will be signed with X-Signature header.',
      warnings: [],
    })
  })

  test('fills in only the method and the configured target', async () => {
    const { params } = await preview({}, { defaultUrl: 'https://default.example/hook' })
    expect(params).toStrictEqual({ url: 'https://default.example/hook', method: 'POST' })
  })

  test('keeps the address as it was sent, and says how it is read', async () => {
    const { params, warnings } = await preview({ url: 'https://Bücher.example/a/../b' })
    expect(params['url']).toBe('https://Bücher.example/a/../b')
    expect(warnings).toEqual(['The address is read as https://xn--bcher-kva.example/b'])
  })

  test('shows a lower-case method in upper case', async () => {
    expect(await preview({ url: 'https://example.com', method: 'delete' })).toMatchObject({
      params: { method: 'DELETE' },
      summary: 'Send DELETE request to https://example.com\nRequest will be signed with X-Signature header.',
      warnings: [],
    })
  })

  test('shows that a crash may lead to another delivery', async () => {
    const { params, summary } = await preview({ url: 'https://example.com/', redeliver_after_crash: true })
    expect(params).toStrictEqual({ url: 'https://example.com/', method: 'POST', redeliver_after_crash: true })
    expect(summary.split('\n')[2]).toContain('delivered again with the same webhook-id')
    expect((await preview({ url: 'https://example.com/', redeliver_after_crash: false })).summary.split('\n')).toHaveLength(2)
  })

  test('warns of plain http, of parts that are not sent, and of a target that only the configuration allows', async () => {
    const { warnings } = await preview({ url: 'http://127.0.0.1:9/#part' }, { policy: loopback })
    expect(warnings).toEqual([
      'What follows the # is not sent.',
      'The request goes over plain http: it can be read and changed on its way.',
      'The target is not public: it is allowed by the configuration here.',
    ])
  })

  test.each([
    [{}, 'params.url'],
    [{ url: 'https://example.com', method: 'GET', body: {} }, 'params.body'],
    [{ url: 'https://example.com', method: 'get', body: null }, 'params.body'],
    [{ url: 'https://example.com', body: ['\uD800'] }, 'params.body'],
  ])('of %j is refused, naming %s', async (json, field) => {
    await expect(preview(json)).rejects.toMatchObject({ reason: 'INVALID_PARAMS', violations: [{ field }] })
  })

  const refused = ['http://localhost:8080/', 'http://169.254.169.254/', 'https://a:b@example.com/', 'https://example.com\nX: y']
  test.each(refused)('of %j is rejected', async (url) => {
    await expect(preview({ url })).rejects.toMatchObject({ reason: 'TARGET_REFUSED', violations: [{ field: 'params.url' }] })
    await expect(preview({}, { defaultUrl: url })).rejects.toMatchObject({ reason: 'TARGET_REFUSED' })
  })

  test.each([
    ['another method', { method: 'HEAD' }],
    ['a method that is no text', { method: 1 }],
    ['an address that is no text', { url: 1 }],
    ['an address that is too long', { url: `https://example.com/${'a'.repeat(2048)}` }],
    ['what it does not know', { headers: {} }],
    ['a word for a flag', { redeliver_after_crash: 'yes' }],
  ])('does not take %s', (_what, json) => {
    expect(publicAdapter().params.safeParse(json).success).toBe(false)
  })

  test('opens no connection', async () => {
    const receiver = await receive()
    await stored(adapter(), { url: receiver.url })
    await send({ url: receiver.url })
    expect(receiver.connections).toBe(1)
  })
})

describe('a request', () => {
  test('carries the canonical body, and signatures of exactly its bytes', async () => {
    const receiver = await receive()
    const body = { z: [1e21, 0.1, null, true], a: { ü: '€ \u2028', b: 'x' }, '': '' }
    expect(await send({ url: `${receiver.url}/hook?a=b#c`, method: 'PUT', body }, { now: () => Date.now() })).toEqual({
      status: 'success',
      result: { status_code: 200, response: 'OK' },
    })
    const { method, url, headers, body: bytes } = receiver.deliveries[0]!
    expect([method, url]).toEqual(['PUT', '/hook?a=b'])
    expect(bytes.toString()).toBe('{"":"","a":{"b":"x","ü":"€ \u2028"},"z":[1e+21,0.1,null,true]}')
    expect(headers).toMatchObject({
      host: `127.0.0.1:${receiver.port}`,
      connection: 'close',
      'content-type': 'application/json',
      'content-length': String(bytes.length),
      'x-signature': createHmac('sha256', signingSecret).update(bytes).digest('hex'),
      'webhook-id': runId,
      'idempotency-key': runId,
    })
    expect(headers['user-agent']).toMatch(/^Relay\/\d/)
    const webhook = new Webhook(`whsec_${Buffer.from(signingSecret).toString('base64')}`)
    expect(webhook.verify(bytes, headers as Record<string, string>)).toEqual(body)
  })

  test("of another workspace is signed with that workspace's own key", async () => {
    const receiver = await receive()
    await send({ url: receiver.url, body: 'text' }, {}, { workspace: 'acme' })
    const { headers, body } = receiver.deliveries[0]!
    expect(body.toString()).toBe('"text"')
    const key = Buffer.from(hkdfSync('sha256', signingSecret, 'relay/signature/v1', 'workspace:acme', 32))
    expect(headers['x-signature']).toBe(createHmac('sha256', key).update(body).digest('hex'))
    expect(new Webhook(`whsec_${key.toString('base64')}`).verify(body, headers as Record<string, string>)).toBe('text')
  })

  test('is signed with the older and the newer key during an overlap: with the older one where there is only one value', async () => {
    const receiver = await receive()
    const [newest, previous] = ['the newer key', 'the older key'].map((text) => createSecretKey(text, 'utf8'))
    await send({ url: receiver.url, body: 'text' }, { signingKeys: async () => ({ newest: newest!, previous }) })
    const { headers, body } = receiver.deliveries[0]!
    expect(headers['x-signature']).toBe(createHmac('sha256', previous!).update(body).digest('hex'))
    for (const key of [newest!, previous!]) {
      expect(new Webhook(webhookSecretOf(key)).verify(body, headers as Record<string, string>)).toBe('text')
    }
  })

  test('is not sent while the signing key is unknown', async () => {
    const receiver = await receive()
    const signingKeys = (_: string, signal: AbortSignal) => new SignatureStates().whenKnown(signal) as Promise<never>
    const outcome = await send({ url: receiver.url }, { signingKeys, timeoutMs: 50 })
    expect(expectError(outcome, 'failed', 'WEBHOOK_CONNECTION')).toContain('Nothing was sent')
    expect(receiver.deliveries).toEqual([])
  })

  test.each(['GET', 'POST', 'DELETE'])('by %s without a body has none, and a signature of no bytes', async (method) => {
    const receiver = await receive()
    await send({ url: receiver.url, method }, { now: () => 1_700_000_000_999 })
    const { headers, body } = receiver.deliveries[0]!
    expect(body).toHaveLength(0)
    expect(headers).not.toHaveProperty('content-type')
    expect(headers['x-signature']).toBe(createHmac('sha256', signingSecret).update('').digest('hex'))
    const signature = createHmac('sha256', signingSecret).update(`${runId}.1700000000.`).digest('base64')
    expect(headers).toMatchObject({ 'webhook-timestamp': '1700000000', 'webhook-signature': `v1,${signature}` })
  })

  test('with a body of null sends it', async () => {
    const receiver = await receive()
    await send({ url: receiver.url, method: 'PATCH', body: null })
    expect(receiver.deliveries[0]!.body.toString()).toBe('null')
  })

  test('goes over TLS to its host name', async () => {
    const certificate = selfSignedCertificate('hook.example')
    const receiver = await receive({ tls: certificate })
    const url = `https://hook.example:${receiver.port}/`
    const lookup = async () => ['127.0.0.1']
    const untrusted = await send({ url }, { lookup })
    expect(expectError(untrusted, 'failed', 'WEBHOOK_CONNECTION')).toBe('Nothing was sent: TLS: the certificate is not trusted.')
    const trusted = tls.getCACertificates('default')
    tls.setDefaultCACertificates([certificate.cert])
    try {
      expect(await send({ url, body: 1 }, { lookup })).toMatchObject({ status: 'success' })
    } finally {
      tls.setDefaultCACertificates(trusted)
    }
    expect(receiver.deliveries.map(({ headers }) => headers.host)).toEqual([`hook.example:${receiver.port}`])
  })

  test('is not sent if the run is no longer owned', async () => {
    const receiver = await receive()
    const assertHeld = async () => {
      throw new Error('no longer held')
    }
    await expect(send({ url: receiver.url }, {}, { assertHeld })).rejects.toThrow('no longer held')
    await send({ url: receiver.url })
    expect(receiver.deliveries).toHaveLength(1)
  })

  test('has its whole time for a response, and a new connection, however long the lease was waited for', async () => {
    const receiver = await receive({ respond: () => pause(500, {}) })
    let asked = 0
    // Held at first; renewed only after a while once the connection stands.
    const assertHeld = async () => void (++asked === 2 && (await pause(800)))
    expect(await send({ url: receiver.url }, { timeoutMs: 1200 }, { assertHeld })).toMatchObject({ status: 'success' })
    expect(receiver.deliveries).toHaveLength(1)
    expect(receiver.connections).toBe(2)
  })

  test('is not sent to a name that was public when previewed and is not when executed', async () => {
    const receiver = await receive()
    const responses = [['93.184.216.34'], ['127.0.0.1']]
    const webhook = publicAdapter({ lookup: async () => responses.shift()! })
    const params = await stored(webhook, { url: `http://hook.example:${receiver.port}/` })
    expect(expectError(await webhook.execute(params, run()), 'failed', 'TARGET_REFUSED')).toBe(
      'The target leads to an address that is not public. Nothing was sent.',
    )
    await send({ url: receiver.url })
    expect(receiver.connections).toBe(1)
  })
})
