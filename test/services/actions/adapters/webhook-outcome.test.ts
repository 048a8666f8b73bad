import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { RunHandle } from '../../../../services/actions/adapter.ts'
import type { WebhookOptions } from '../../../../services/actions/adapters/webhook.ts'
import { startReceiver } from '../../../fakes/receiver.ts'
import { closing, run, runId, stored } from '../adapter-harness.ts'
import { adapter, expectError, receive, send } from '../webhook-harness.ts'

/** A server that speaks for itself, below HTTP. */
async function listen(onConnection: (socket: net.Socket) => void): Promise<string> {
  const server = closing(net.createServer((socket) => onConnection(socket.on('error', () => undefined))))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

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
    const responses = [
      { status: 503, body: '💥'.repeat(300) },
      { status: 500, body: 'x'.repeat(300) },
      { status: 400, body: '' },
    ]
    const receiver = await receive({ respond: (_, index) => responses[index]! })
    const outcome = await send({ url: receiver.url })
    expect(expectError(outcome, 'failed', 'WEBHOOK_STATUS')).toBe(`503: ${'💥'.repeat(200)}`)
    expect(outcome.result).toEqual({ status_code: 503, response: '💥'.repeat(300) })
    expect(expectError(await send({ url: receiver.url }), 'failed', 'WEBHOOK_STATUS')).toBe(`500: ${'x'.repeat(200)}`)
    expect(expectError(await send({ url: receiver.url }), 'failed', 'WEBHOOK_STATUS')).toBe('400')
  })

  test('of a redirect is a failure that names only where it leads, and nothing follows it', async () => {
    const other = await receive()
    const locations = [`${other.url}/secret?token=1`, '/elsewhere', 'javascript:alert(1)', undefined]
    const receiver = await receive({
      respond: (_, index) => ({ status: 307, headers: { ...(locations[index] && { location: locations[index] }) }, body: '' }),
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
    const latch = Promise.withResolvers<object>()
    const receiver = await receive({ respond: () => latch.promise })
    const message = expectError(await send({ url: receiver.url }, { timeoutMs: 50 }), 'unknown', 'WEBHOOK_TIMEOUT')
    expect(message).toContain('no answer came within 0.05 s')
    expect(message).toContain(runId)
    await receiver.waitForDeliveries(1)
    latch.resolve({})
  })

  test('of a run that is stopped is unknown once the request was sent', async () => {
    const stopping = new AbortController()
    const latch = Promise.withResolvers<object>()
    const receiver = await receive({ respond: () => latch.promise })
    const outcome = send({ url: receiver.url }, {}, { signal: stopping.signal })
    await receiver.waitForDeliveries(1)
    stopping.abort()
    expect(expectError(await outcome, 'unknown', 'WEBHOOK_TIMEOUT')).toContain('the run was stopped before an answer came')
    latch.resolve({})
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
    ['closes at once', '', 'WEBHOOK_CONNECTION_LOST'],
    ['does not speak HTTP', 'SSH-2.0-OpenSSH_9.9\r\n', 'WEBHOOK_CONNECTION_LOST'],
    ['has headers larger than are read', `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(17_000)}\r\n\r\n`, 'WEBHOOK_HEADERS_TOO_LARGE'],
    ['never ends its headers', `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(100_000)}`, 'WEBHOOK_HEADERS_TOO_LARGE'],
  ] as const)('of a receiver that %s is unknown, and says so', async (_what, bytes, reason) => {
    let connections = 0
    const url = await listen((socket) => {
      connections++
      socket.end(bytes)
    })
    expectError(await send({ url, body: {} }), 'unknown', reason)
    expect(connections).toBe(1)
  })

  test('goes by the status where the body breaks off or does not end in time', async () => {
    const receiver = await receive({
      respond: (_, index) => ({ status: [200, 500, 200][index]!, headers: { 'content-length': '100' }, body: 'partial', drop: 'after' }),
    })
    expect(await send({ url: receiver.url })).toEqual({
      status: 'success',
      result: { status_code: 200, response: 'partial', response_truncated: true },
    })
    expect(expectError(await send({ url: receiver.url }), 'failed', 'WEBHOOK_STATUS')).toBe('500: partial')

    const url = await listen((socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nslow'))
    expect(await send({ url }, { timeoutMs: 100 })).toEqual({
      status: 'success',
      result: { status_code: 200, response: 'slow', response_truncated: true },
    })
  })
})

describe('the response', () => {
  test('is kept whole up to the limit and cut beyond it', async () => {
    const receiver = await receive({ respond: (_, index) => ({ body: 'x'.repeat(10 + index) }) })
    const options = { maxResponseBytes: 10 }
    expect(await send({ url: receiver.url }, options)).toMatchObject({ result: { status_code: 200, response: 'x'.repeat(10) } })
    const cut = { status_code: 200, response: 'x'.repeat(10), response_truncated: true }
    expect((await send({ url: receiver.url }, options)).result).toEqual(cut)
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
    // A timeout that no test lives to see: only the limit can end this.
    const outcome = await send({ url: receiver.url }, { timeoutMs: 600_000 })
    expect(outcome.result).toEqual({ status_code: 200, response: 'y'.repeat(65_536), response_truncated: true })
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
    return webhook.reconcile(await stored(webhook, json), run({ attempt: 2, ...part }))
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
    expect(await reconcile(json)).toEqual({ status: 'success', result: { status_code: 200, response: 'OK', redelivered: true } })
    const [first, second] = receiver.deliveries
    for (const header of ['webhook-id', 'idempotency-key', 'x-signature']) expect(second!.headers[header]).toBe(first!.headers[header])
    expect(second!.body).toEqual(first!.body)
  })

  test('a delivery again that does not succeed leaves it unknown what came of the first', async () => {
    const receiver = await startReceiver({ respond: () => ({ status: 409, body: 'seen already' }) })
    const outcome = await reconcile({ url: receiver.url, redeliver_after_crash: true })
    expect(expectError(outcome, 'unknown', 'WEBHOOK_OUTCOME_LOST')).toContain('WEBHOOK_STATUS: 409: seen already')
    expect(outcome.result).toEqual({ status_code: 409, response: 'seen already' })
    await receiver.close()
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
