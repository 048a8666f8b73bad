import { createHmac, hkdfSync } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import { Webhook } from 'standardwebhooks'
import { afterEach, describe, expect, test } from 'vitest'
import { webhookAdapter, webhookReasons } from '../../../services/actions/adapters/webhook.ts'
import type { WebhookOptions, WebhookReason } from '../../../services/actions/adapters/webhook.ts'
import type { Outcome, RunHandle } from '../../../services/actions/adapter.ts'
import { parsePolicy, publicOnly } from '../../../services/actions/address-guard.ts'
import { selfSignedCertificate } from '../../fakes/certificate.ts'
import { startReceiver } from '../../fakes/receiver.ts'
import type { Receiver, ReceiverOptions } from '../../fakes/receiver.ts'

const signingSecret = 'a secret that is only in this test'
const loopback = parsePolicy(['127.0.0.0/8', '::1/128'])
const publicAddress = async () => ['93.184.216.34']
const runId = '3a033cc1-0000-4000-8000-000000000001'

const adapter = (options: Partial<WebhookOptions> = {}) => webhookAdapter({ signingSecret, policy: loopback, ...options })
const publicAdapter = (options: Partial<WebhookOptions> = {}) => adapter({ policy: publicOnly, lookup: publicAddress, ...options })

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})

async function receive(options?: ReceiverOptions): Promise<Receiver> {
  const receiver = await startReceiver(options)
  open.push(receiver)
  return receiver
}

function run(part: Partial<RunHandle> = {}): RunHandle {
  return {
    runId,
    workspace: 'default',
    actor: 'tester',
    signal: new AbortController().signal,
    recovery: undefined,
    attempt: 1,
    record: async () => undefined,
    assertHeld: () => undefined,
    ...part,
  }
}

const context = { workspace: 'default', actor: 'tester', signal: new AbortController().signal }

/** What a client's JSON comes to: the parsed parameters, previewed, as they are stored. */
async function shownParams(webhook: ReturnType<typeof adapter>, json: unknown) {
  const shown = await webhook.preview(webhook.params.parse(json), context)
  return webhook.params.parse(JSON.parse(JSON.stringify(shown.params)))
}

const send = async (json: unknown, options: Partial<WebhookOptions> = {}, part: Partial<RunHandle> = {}) => {
  const webhook = adapter(options)
  return webhook.execute(await shownParams(webhook, json), run(part))
}

function expectError(outcome: Outcome, status: 'failed' | 'unknown', reason: WebhookReason): string {
  expect(outcome).toMatchObject({ status, error: { reason } })
  expect(webhookReasons).toContain(reason)
  return outcome.status === 'success' ? '' : outcome.error.message
}

describe('a preview', () => {
  const preview = (json: unknown, options: Partial<WebhookOptions> = {}) => {
    const webhook = publicAdapter(options)
    return webhook.preview(webhook.params.parse(json), context)
  }

  test('shows the request as clients have always been shown it', async () => {
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

  test('warns of plain http, of what is not sent, and of a target that the configuration allows', async () => {
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

  test.each(['http://localhost:8080/', 'http://169.254.169.254/', 'https://a:b@example.com/', 'https://example.com\nX: y'])('of %j is refused', async (url) => {
    await expect(preview({ url })).rejects.toMatchObject({ reason: 'TARGET_REFUSED', violations: [{ field: 'params.url' }] })
    await expect(preview({}, { defaultUrl: url })).rejects.toMatchObject({ reason: 'TARGET_REFUSED' })
  })

  test.each([{ method: 'HEAD' }, { method: 1 }, { url: 1 }, { url: `https://example.com/${'a'.repeat(2048)}` }, { headers: {} }, { redeliver_after_crash: 'yes' }])(
    'takes no parameters like %j',
    (json) => {
      expect(publicAdapter().params.safeParse(json).success).toBe(false)
    },
  )

  test('opens no connection', async () => {
    const receiver = await receive()
    await shownParams(adapter(), { url: receiver.url })
    await send({ url: receiver.url })
    expect(receiver.connections).toBe(1)
  })
})

describe('a request', () => {
  test('carries the canonical body, and signatures of exactly its bytes', async () => {
    const receiver = await receive()
    const body = { z: [1e21, 0.1, null, true], a: { 'ü': '€ \u2028', b: 'x' }, '': '' }
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

  test('of another workspace is signed with that workspace\'s own key', async () => {
    const receiver = await receive()
    await send({ url: receiver.url, body: 'text' }, {}, { workspace: 'acme' })
    const { headers, body } = receiver.deliveries[0]!
    expect(body.toString()).toBe('"text"')
    const key = Buffer.from(hkdfSync('sha256', signingSecret, 'relay/signature/v1', 'workspace:acme', 32))
    expect(headers['x-signature']).toBe(createHmac('sha256', key).update(body).digest('hex'))
    expect(new Webhook(`whsec_${key.toString('base64')}`).verify(body, headers as Record<string, string>)).toBe('text')
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

  test('goes over TLS to the name it was given', async () => {
    const certificate = selfSignedCertificate('hook.example')
    const receiver = await receive({ tls: certificate })
    const url = `https://hook.example:${receiver.port}/`
    const lookup = async () => ['127.0.0.1']
    expect(expectError(await send({ url }, { lookup }), 'failed', 'WEBHOOK_CONNECTION')).toBe('Nothing was sent: TLS: the certificate is not trusted.')
    const trusted = tls.getCACertificates('default')
    tls.setDefaultCACertificates([certificate.cert])
    try {
      expect(await send({ url, body: 1 }, { lookup })).toMatchObject({ status: 'success' })
    } finally {
      tls.setDefaultCACertificates(trusted)
    }
    expect(receiver.deliveries.map(({ headers, body }) => [headers.host, body.toString()])).toEqual([[`hook.example:${receiver.port}`, '1']])
  })

  test('is not sent when the run is no longer held', async () => {
    const receiver = await receive()
    const assertHeld = () => {
      throw new Error('no longer held')
    }
    await expect(send({ url: receiver.url }, {}, { assertHeld })).rejects.toThrow('no longer held')
    await send({ url: receiver.url })
    expect(receiver.deliveries).toHaveLength(1)
  })

  test('is not sent to a name that was public when previewed and is not when executed', async () => {
    const receiver = await receive()
    const answers = [['93.184.216.34'], ['127.0.0.1']]
    const webhook = publicAdapter({ lookup: async () => answers.shift()! })
    const params = await shownParams(webhook, { url: `http://hook.example:${receiver.port}/` })
    expect(expectError(await webhook.execute(params, run()), 'failed', 'TARGET_REFUSED')).toBe(
      'The target leads to an address that is not public. Nothing was sent.',
    )
    await send({ url: receiver.url })
    expect(receiver.connections).toBe(1)
  })
})

describe('the outcome', () => {
  test.each([200, 201, 202, 299])('of status %i is success', async (status) => {
    const receiver = await receive({ respond: () => ({ status, body: 'done' }) })
    expect(await send({ url: receiver.url })).toEqual({ status: 'success', result: { status_code: status, response: 'done' } })
  })

  test('of a status without a body is success with an empty response', async () => {
    const receiver = await receive({ respond: () => ({ status: 204, body: '' }) })
    expect(await send({ url: receiver.url })).toEqual({ status: 'success', result: { status_code: 204, response: '' } })
  })

  test('of a status of 400 or more is a failure with the status and the first 200 characters', async () => {
    const receiver = await receive({ respond: (_, index) => ({ status: [503, 400][index]!, body: ['💥'.repeat(300), ''][index]! }) })
    const outcome = await send({ url: receiver.url })
    expect(expectError(outcome, 'failed', 'WEBHOOK_STATUS')).toBe(`503: ${'💥'.repeat(200)}`)
    expect(outcome.result).toEqual({ status_code: 503, response: '💥'.repeat(300) })
    expect(expectError(await send({ url: receiver.url }), 'failed', 'WEBHOOK_STATUS')).toBe('400')
  })

  test('of a redirect is a failure that names only where it leads, and nothing follows it', async () => {
    const other = await receive()
    const locations = [`${other.url}/secret?token=1`, '/elsewhere', 'javascript:alert(1)', undefined]
    const receiver = await receive({
      respond: (_, index) => ({ status: 307, headers: locations[index] === undefined ? {} : { location: locations[index] }, body: '' }),
    })
    const messages = []
    for (const _location of locations) messages.push(expectError(await send({ url: receiver.url }), 'failed', 'WEBHOOK_REDIRECT'))
    expect(messages).toEqual([
      `307: the receiver redirects to ${other.url}; redirects are not followed.`,
      `307: the receiver redirects to ${receiver.url}; redirects are not followed.`,
      '307: the receiver redirects elsewhere; redirects are not followed.',
      '307: the receiver redirects elsewhere; redirects are not followed.',
    ])
    expect([receiver.deliveries.length, other.connections]).toEqual([4, 0])
  })

  test('of no answer in time is unknown, for the request was sent', async () => {
    const gate = Promise.withResolvers<object>()
    const receiver = await receive({ respond: () => gate.promise })
    const message = expectError(await send({ url: receiver.url }, { timeoutMs: 50 }), 'unknown', 'WEBHOOK_TIMEOUT')
    expect(message).toContain('no answer came within 0.05 s')
    expect(message).toContain(runId)
    await receiver.waitForDeliveries(1)
    gate.resolve({})
  })

  test('of a run that is stopped is unknown once the request was sent', async () => {
    const stopping = new AbortController()
    const gate = Promise.withResolvers<object>()
    const receiver = await receive({ respond: () => gate.promise })
    const outcome = send({ url: receiver.url }, {}, { signal: stopping.signal })
    await receiver.waitForDeliveries(1)
    stopping.abort()
    expect(expectError(await outcome, 'unknown', 'WEBHOOK_TIMEOUT')).toContain('the run was stopped before an answer came')
    gate.resolve({})
  })

  test('of a run that is stopped before anything was sent is a failure', async () => {
    const receiver = await receive()
    const outcome = await send({ url: receiver.url }, {}, { signal: AbortSignal.abort() })
    expect(expectError(outcome, 'failed', 'WEBHOOK_TIMEOUT')).toBe('The run was stopped before the request was sent.')
    expect(receiver.deliveries).toHaveLength(0)
  })

  test('of no connection is a failure that says why', async () => {
    const { url, close } = await startReceiver()
    await close()
    expect(expectError(await send({ url }), 'failed', 'WEBHOOK_CONNECTION')).toBe('Nothing was sent: the connection was refused.')
    const lookup = () => new Promise<never>(() => undefined)
    const hanging = adapter({ lookup, timeoutMs: 20 }).execute({ url: 'http://hook.example/', method: 'POST' }, run())
    expect(expectError(await hanging, 'failed', 'WEBHOOK_CONNECTION')).toBe('Nothing was sent: no connection in time.')
  })

  test('of a connection that ends before an answer is unknown, and the request is not repeated', async () => {
    const receiver = await receive({ respond: () => ({ drop: 'before' }) })
    for (const method of ['POST', 'GET', 'PUT']) {
      const message = expectError(await send({ url: receiver.url, method }), 'unknown', 'WEBHOOK_CONNECTION_LOST')
      expect(message).toContain(`ask the receiver about webhook-id ${runId}`)
    }
    expect([receiver.connections, receiver.deliveries.length]).toEqual([3, 3])
  })

  test.each([
    ['closes at once', ''],
    ['does not speak HTTP', 'SSH-2.0-OpenSSH_9.9\r\n'],
    ['never ends its headers', `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(100_000)}`],
  ])('of a receiver that %s is unknown', async (_what, bytes) => {
    let connections = 0
    const server = net.createServer((socket) => {
      connections++
      socket.on('error', () => undefined).end(bytes)
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    open.push(server)
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    expectError(await send({ url, body: {} }), 'unknown', 'WEBHOOK_CONNECTION_LOST')
    expect(connections).toBe(1)
  })

  test('goes by the status where the body breaks off or does not end in time', async () => {
    const gate = Promise.withResolvers<void>()
    const receiver = await receive({
      respond: (_, index) => ({ status: [200, 500, 200][index]!, headers: { 'content-length': '100' }, body: 'partial', drop: 'after' }),
    })
    expect(await send({ url: receiver.url })).toEqual({
      status: 'success',
      result: { status_code: 200, response: 'partial', response_truncated: true },
    })
    expect(expectError(await send({ url: receiver.url }), 'failed', 'WEBHOOK_STATUS')).toBe('500: partial')

    const slow = net.createServer((socket) => {
      socket.on('error', () => undefined).write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nslow')
    })
    await once(slow.listen(0, '127.0.0.1'), 'listening')
    open.push(slow)
    const url = `http://127.0.0.1:${(slow.address() as AddressInfo).port}/`
    expect(await send({ url }, { timeoutMs: 100 })).toEqual({
      status: 'success',
      result: { status_code: 200, response: 'slow', response_truncated: true },
    })
    gate.resolve()
  })
})

describe('the response', () => {
  test('is kept whole up to the limit and cut beyond it', async () => {
    const receiver = await receive({ respond: (_, index) => ({ body: 'x'.repeat(10 + index) }) })
    const options = { maxResponseBytes: 10 }
    expect(await send({ url: receiver.url }, options)).toMatchObject({ result: { status_code: 200, response: 'x'.repeat(10) } })
    expect((await send({ url: receiver.url }, options)).result).toEqual({ status_code: 200, response: 'x'.repeat(10), response_truncated: true })
  })

  test('that never ends is cut, and its connection closed', async () => {
    const ended = Promise.withResolvers<void>()
    function* endless() {
      try {
        while (true) yield Buffer.alloc(65_536, 'y')
      } finally {
        ended.resolve()
      }
    }
    const receiver = await receive({ respond: () => ({ body: endless() }) })
    const outcome = await send({ url: receiver.url })
    expect(outcome.result).toEqual({ status_code: 200, response: 'y'.repeat(65_536), response_truncated: true })
    await receiver.close()
    open.pop()
    await ended.promise
  })

  test('holds no NUL and no half characters, so that it can be stored', async () => {
    const bodies = [Buffer.from([0x61, 0, 0xff, 0x62]), Buffer.from('aa€'), Buffer.from([0xef, 0xbb, 0xbf, 0x61])]
    const receiver = await receive({ respond: (_, index) => ({ body: bodies[index]! }) })
    expect((await send({ url: receiver.url })).result).toEqual({ status_code: 200, response: 'a\uFFFD\uFFFDb' })
    expect((await send({ url: receiver.url }, { maxResponseBytes: 4 })).result).toMatchObject({ response: 'aa', response_truncated: true })
    expect((await send({ url: receiver.url })).result).toEqual({ status_code: 200, response: '\uFEFFa' })
  })
})

describe('after a crash', () => {
  const reconcile = async (json: unknown, part: Partial<RunHandle> = {}, options: Partial<WebhookOptions> = {}) => {
    const webhook = adapter(options)
    return webhook.reconcile(await shownParams(webhook, json), run({ attempt: 2, ...part }))
  }

  test('nothing is sent again unless the preview showed that it would be', async () => {
    const receiver = await receive()
    const message = expectError(await reconcile({ url: receiver.url }), 'unknown', 'WEBHOOK_OUTCOME_LOST')
    expect(message).toContain(`Ask the receiver whether it has webhook-id ${runId}`)
    expectError(await reconcile({ url: receiver.url, redeliver_after_crash: false }), 'unknown', 'WEBHOOK_OUTCOME_LOST')
    await send({ url: receiver.url })
    expect(receiver.connections).toBe(1)
  })

  test('the request is delivered again with the same id and body where the preview showed it', async () => {
    const receiver = await receive()
    const json = { url: receiver.url, body: { a: 1 }, redeliver_after_crash: true }
    await send(json)
    expect(await reconcile(json)).toEqual({ status: 'success', result: { status_code: 200, response: 'OK' } })
    const [first, second] = receiver.deliveries
    for (const header of ['webhook-id', 'idempotency-key', 'x-signature']) expect(second!.headers[header]).toBe(first!.headers[header])
    expect(second!.body).toEqual(first!.body)
  })

  test('a delivery again that does not succeed leaves it unknown what came of the first', async () => {
    const receiver = await receive({ respond: () => ({ status: 409, body: 'seen already' }) })
    const outcome = await reconcile({ url: receiver.url, redeliver_after_crash: true })
    expect(expectError(outcome, 'unknown', 'WEBHOOK_OUTCOME_LOST')).toContain('WEBHOOK_STATUS: 409: seen already')
    expect(outcome.result).toEqual({ status_code: 409, response: 'seen already' })
    await receiver.close()
    open.pop()
    const unreachable = await reconcile({ url: receiver.url, redeliver_after_crash: true })
    expect(expectError(unreachable, 'unknown', 'WEBHOOK_OUTCOME_LOST')).toContain('WEBHOOK_CONNECTION: Nothing was sent')
  })

  test('the request is delivered at most five times', async () => {
    const receiver = await receive()
    const json = { url: receiver.url, redeliver_after_crash: true }
    expect(await reconcile(json, { attempt: 5 })).toMatchObject({ status: 'success' })
    expectError(await reconcile(json, { attempt: 6 }), 'unknown', 'WEBHOOK_OUTCOME_LOST')
    expect(receiver.deliveries).toHaveLength(1)
  })
})
