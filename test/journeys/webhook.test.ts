/** See it, do exactly what was shown, do it once, find out afterwards. */
import { createHmac, randomUUID } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { storedSecret } from '../../deploy/local/state/state-dir.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Journey, journey } from './journey.ts'

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

let harness: Journey
let receiver: Receiver
let respond: NonNullable<NonNullable<Parameters<typeof startReceiver>[0]>['respond']> = () => ({})
beforeAll(async () => {
  receiver = await startReceiver({ respond: (delivered, index) => respond(delivered, index) })
  harness = await journey({ env: { WEBHOOK_TIMEOUT: '1s' } })
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
})

describe('the three calls', () => {
  test('list, preview, execute, and execute again with the same key and an invalid preview: the same run, delivered once', async () => {
    respond = () => ({ body: 'OK' })
    const listed = await harness.api.list()
    expect(listed.status).toBe(200)
    expect(listed.body.actions[0]).toMatchObject({ action: 'webhook.save', provider: 'independent', available: true })

    const url = `${receiver.url}/hook`
    const preview = await harness.api.call('POST', '/actions/preview', {
      body: { action: 'webhook.save', params: { url, method: 'POST', body: { test: 'hello' } } },
    })
    expect(preview.status).toBe(200)
    expect(Object.keys(preview.body)).toEqual([
      'preview_id',
      'action',
      'provider',
      'summary',
      'params',
      'warnings',
      'expires_at',
      'request_id',
    ])
    expect(preview.body).toMatchObject({
      preview_id: expect.stringMatching(uuid),
      action: 'webhook.save',
      provider: 'independent',
      summary: `Send POST request to ${url}\nRequest will be signed with X-Signature header.`,
      params: { url, method: 'POST', body: { test: 'hello' } },
      expires_at: expect.stringMatching(time),
      request_id: preview.headers['x-request-id'],
    })
    expect(receiver.connections).toBe(0)

    const key = `test-${randomUUID()}`
    const executed = await harness.api.execute(preview.body.preview_id as string, key)
    expect(executed.status).toBe(200)
    expect(Object.keys(executed.body)).toEqual(['run_id', 'action', 'provider', 'status', 'result', 'error', 'duration_ms', 'request_id'])
    expect(executed.body).toMatchObject({ status: 'success', result: { status_code: 200, response: 'OK' }, error: null })
    expect(executed.headers['idempotency-replayed']).toBeUndefined()

    const again = await harness.api.execute('expired-or-invalid', key)
    expect(again.body).toEqual({ ...executed.body, request_id: again.headers['x-request-id'] })
    expect(again.headers['idempotency-replayed']).toBe('true')
    expect(again.headers['x-request-id']).not.toBe(executed.headers['x-request-id'])
    expect(receiver.deliveries).toHaveLength(1)
    expect(receiver.deliveries[0]).toMatchObject({ method: 'POST', url: '/hook' })

    const found = await harness.api.run(executed.body.run_id as string)
    expect(found.body.run).toMatchObject({
      run_id: executed.body.run_id,
      status: 'success',
      params: preview.body.params,
      preview_id: preview.body.preview_id,
    })
  })

  test('the delivered bytes are exactly the previewed ones, signed in both ways', async () => {
    const body = { zebra: 1, apple: ['ü', '\u2028', 1e-7], nested: { b: null, a: false } }
    const id = await harness.api.previewId(`${receiver.url}/bytes`, { body })
    const { body: run } = await harness.api.execute(id)
    const { body: bytes, headers } = receiver.deliveries.at(-1)!
    expect(bytes.toString()).toBe('{"apple":["ü","\u2028",1e-7],"nested":{"a":false,"b":null},"zebra":1}')
    const secret = storedSecret(harness.mesh.folder, 'actions_signing_secret')
    expect(headers['x-signature']).toBe(createHmac('sha256', secret).update(bytes).digest('hex'))
    expect(headers['webhook-id']).toBe(run.run_id)
    const receiverSide = new Webhook(Buffer.from(secret).toString('base64'))
    expect(receiverSide.verify(bytes.toString(), headers as Record<string, string>)).toEqual(JSON.parse(bytes.toString()))
  })
})

describe('outcomes', () => {
  const outcome = async (path = '/') => (await harness.api.execute(await harness.api.previewId(receiver.url + path))).body

  test('a status of 400 or more is a failure that carries the status and the first 200 characters', async () => {
    respond = () => ({ status: 503, body: 'x'.repeat(1000) })
    const run = await outcome()
    expect(run).toMatchObject({ status: 'failed', result: { status_code: 503 } })
    expect(run.error).toContain('503')
    expect(run.error).toContain('x'.repeat(200))
    expect(run.error).not.toContain('x'.repeat(201))
  })

  test('a receiver that does not answer leaves it unknown, by name', async () => {
    respond = () => new Promise(() => undefined)
    expect(await outcome()).toMatchObject({ status: 'unknown', error: expect.stringMatching(/^WEBHOOK_TIMEOUT: /) })
  })

  test('a refused connection is another failure, by name', async () => {
    const gone = await startReceiver()
    await gone.close()
    const { body } = await harness.api.execute(await harness.api.previewId(gone.url))
    expect(body).toMatchObject({ status: 'failed', result: null, error: expect.stringMatching(/^WEBHOOK_CONNECTION: /) })
  })

  test('a connection cut before the answer leaves it unknown', async () => {
    respond = () => ({ drop: 'before' })
    expect(await outcome()).toMatchObject({ status: 'unknown', error: expect.stringMatching(/^WEBHOOK_CONNECTION_LOST: /) })
  })
})

describe('refusals', () => {
  test.each([
    'http://169.254.169.254/latest/meta-data',
    'http://10.0.0.1/',
    'http://[::ffff:10.0.0.1]/',
    'http://0x0a.1/',
    'ftp://example.com/',
    'http://user:pass@example.com/',
  ])('a webhook to %s is refused at preview with 422', async (url) => {
    const reply = await harness.api.preview(url)
    expect(reply.status).toBe(422)
    expect(reply.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(reply.body).toMatchObject({ reason: 'TARGET_REFUSED', status: 422, request_id: reply.headers['x-request-id'] })
  })

  test('an execute of an unknown preview is 404 with the sentence that clients know', async () => {
    const reply = await harness.api.execute('expired-or-invalid', `k-${randomUUID()}`)
    expect(reply.status).toBe(404)
    expect(reply.body).toMatchObject({ reason: 'PREVIEW_INVALID', detail: 'Invalid or expired preview_id' })
  })

  test('a key reused for something else is 422, and a preview already run under another key 409 naming its run', async () => {
    respond = () => ({})
    const key = `k-${randomUUID()}`
    const [one, two] = [await harness.api.previewId(receiver.url), await harness.api.previewId(receiver.url)]
    const first = await harness.api.execute(one, key)
    expect(await harness.api.execute(two, key)).toMatchObject({ status: 422, body: { reason: 'KEY_REUSED' } })
    expect(await harness.api.execute(one, `k-${randomUUID()}`)).toMatchObject({
      status: 409,
      body: { reason: 'PREVIEW_ALREADY_RUN', run_id: first.body.run_id },
    })
  })

  test('no key, a wrong key, or a key in the query gets nowhere', async () => {
    for (const authorization of ['', 'Bearer wrong', `Basic ${Buffer.from(`x:${harness.mesh.apiKey}`).toString('base64')}`]) {
      expect((await harness.api.call('GET', '/actions', { headers: { authorization } })).status).toBe(401)
    }
    expect((await harness.api.call('GET', `/actions?api_key=${harness.mesh.apiKey}`)).status).toBe(400)
  })

  test.each([
    ['an unknown field', '{"preview_id":"x","nope":1}', 'nope'],
    ['a wrong type', '{"preview_id":1}', 'preview_id'],
    ['a key twice', '{"preview_id":"x","preview_id":"y"}', 'preview_id'],
    ['a missing field', '{}', 'preview_id'],
    ['the header’s field in the body', '{"preview_id":"x","idempotency_key":"k"}', 'idempotency_key'],
  ])('%s is 400 naming the field', async (_, raw, field) => {
    const reply = await harness.api.call('POST', '/actions/execute', { raw })
    expect(reply.status).toBe(400)
    expect(JSON.stringify(reply.body)).toContain(field)
  })
})
