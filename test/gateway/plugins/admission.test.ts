import { request as httpRequest } from 'node:http'
import { type Socket, connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { meshErrors } from '#mesh/errors.ts'
import { admissionLimits } from '../../../gateway/plugins/admission.ts'
import { hitsOf } from '../../../gateway/plugins/rate-limit.ts'
import { type TestGateway, apiKey, startGateway } from '../gateway.ts'
import { executed, run } from '../../fakes/actions-service.ts'
import { fakeMesh } from '../../fakes/identity.ts'

const [colleague, stranger] = [newApiKey('test'), newApiKey('test')]
const MB = 1_000_000

let gateway: TestGateway
let counted: { workspace: string; hits: number }[]
/** Lets the previews that wait in the service go on. */
let goOn: () => void
beforeEach(async () => {
  counted = []
  const verdict = { allowed: true, source: 'lease', limited: false, limit: 0, windowMs: 60_000, remaining: 0, resetMs: 1 } as const
  const limiter = {
    decide: (workspace: string, done: (told: typeof verdict) => void, hits = 1) => {
      counted.push({ workspace, hits })
      done(verdict)
    },
  }
  gateway = await startGateway({ SEND_STALL_TIMEOUT: '60s' }, { limiter }, fakeMesh())
  gateway.keys.set(colleague, { workspace: 'default', actor: 'colleague', keyId: 'key-of-colleague' })
  gateway.keys.set(stranger, { workspace: 'other', actor: 'stranger', keyId: 'key-of-stranger' })
  const gate = new Promise<void>((resolve) => (goOn = resolve))
  const { previewAction } = gateway.actions.handlers
  gateway.actions.handlers.previewAction = async (request, call) => {
    await gate
    return previewAction(request, call)
  }
})
afterEach(async () => {
  goOn()
  await gateway.stop()
})

const preview = (key: string, bytes = MB) =>
  gateway.call('/actions/preview', {
    body: { action: 'a', params: { text: 'x'.repeat(bytes) } },
    headers: { authorization: `Bearer ${key}` },
  })
const patience = { timeout: 20_000 }
const arrived = (count: number) =>
  expect.poll(() => gateway.actions.asked.filter(({ method }) => method === 'previewAction').length, patience).toBe(count)
const metricOf = async (name: string) =>
  Number(new RegExp(`^${name}\\S* (\\d+)`, 'm').exec((await gateway.metrics.scrape(undefined)).body)?.[1])
/** How many previews of 1 MB fit. */
const fit = (bytes: number) => Math.floor(bytes / (MB + 8192))

describe('bytes under way', { timeout: 60_000 }, () => {
  test('are bounded for each caller: more is refused at once with when to come back, and others are served', async () => {
    const held = Array.from({ length: fit(admissionLimits.caller) }, () => preview(apiKey))
    await arrived(held.length)
    const refused = await preview(apiKey)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(await refused.json()).toMatchObject({ reason: 'OVERLOADED' })
    const others = [preview(colleague), preview(stranger)]
    await arrived(held.length + 2)
    goOn()
    for (const each of [...held, ...others]) expect((await each).status).toBe(200)
    expect((await preview(apiKey)).status).toBe(200)
  })

  test('are bounded for each workspace, whatever keys it makes, and for all; what is small is served until all is full', async () => {
    const atOnce = async (workspace: string, keys: number) => {
      const asked: Promise<Response>[] = []
      for (let index = 0; index < keys; index += 1) {
        const key = newApiKey('test')
        gateway.keys.set(key, { workspace, actor: 'many', keyId: `${workspace}-${index}` })
        for (let each = 0; each < fit(admissionLimits.caller); each += 1) asked.push(preview(key))
      }
      return asked
    }
    const before = () => gateway.actions.asked.length
    const held = await atOnce('first', 4)
    await arrived(fit(admissionLimits.workspace))
    held.push(...(await atOnce('second', 4)), ...(await atOnce('third', 4)), ...(await atOnce('fourth', 4)))
    await arrived(fit(admissionLimits.total - admissionLimits.reserved))
    const large = before()
    const small = preview(stranger, 1000)
    await arrived(large + 1)
    goOn()
    expect((await small).status).toBe(200)
    const statuses = await Promise.all(held.map(async (each) => (await each).status))
    // On a busy machine some of those that had room are given up before they can go on.
    expect(statuses.filter((status) => status === 503)).toHaveLength(held.length - large)
  })

  test('of a body without a length are as many as it may have, until it is there', async () => {
    const chunked = (key: string) => {
      const started = httpRequest(`${gateway.url}/actions/preview`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
      })
      started.on('error', () => undefined)
      started.write('{"action":"a"')
      return {
        end: () => started.end('}'),
        status: new Promise<number>((resolve) => started.on('response', (response) => resolve(response.statusCode!))),
      }
    }
    const open = Array.from({ length: 3 }, () => chunked(apiKey))
    const metric = async () => /^gateway_bytes_in_flight\S* (\d+)/m.exec((await gateway.metrics.scrape(undefined)).body)?.[1]
    await expect.poll(async () => Number(await metric()), patience).toBeGreaterThan(3 * MB)
    expect((await preview(apiKey, 1_045_000)).status).toBe(503)
    open.forEach(({ end }) => end())
    await arrived(3)
    await expect.poll(async () => Number(await metric()), patience).toBeLessThan(0.1 * MB)
    goOn()
    expect(await Promise.all(open.map(({ status }) => status))).toEqual([200, 200, 200])
  })

  test('of answers count until they are sent, and a caller who was given large ones is taken to want such again', async () => {
    const large = 'x'.repeat(3 * MB)
    gateway.actions.handlers.getRun = async (_request, call) => ({
      run: { ...run, error: large },
      requestId: call.requestId,
    })
    const get = (key: string) =>
      gateway.call('/actions/runs/3a033cc1-0000-4000-8000-000000000001', { headers: { authorization: `Bearer ${key}` } })
    await (await get(apiKey)).text()
    const responses = await Promise.all(Array.from({ length: 8 }, () => get(apiKey)))
    const statuses = responses.map(({ status }) => status)
    expect(statuses).toContain(503)
    expect(statuses).toContain(200)
    expect((await get(colleague)).status).toBe(200)
  })

  describe('of answers that are never read', () => {
    const path = '/actions/runs/3a033cc1-0000-4000-8000-000000000001'
    const inFlight = () => metricOf('gateway_bytes_in_flight')
    beforeEach(() => {
      gateway.actions.handlers.getRun = async (_request, call) => ({ run: { ...run, error: 'x'.repeat(MB) }, requestId: call.requestId })
    })
    const unread = (requests: number, request: string) => {
      const socket = connect(gateway.port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.pause().write(request.repeat(requests))
      return socket
    }
    const as = async (key: string) => {
      const large = await gateway.call(path, { headers: { authorization: `Bearer ${key}` } })
      await large.text()
      return large.status
    }
    /** Asks for more until so much stays in the gateway that nothing fits: how much the kernel takes of a connection is its own affair. */
    const fill = (sockets: Socket[], request: string) => {
      let refused = 0
      const look = async () => {
        refused = (await as(apiKey)) === 503 ? refused + 1 : 0
        if (refused === 0) sockets.forEach((each) => each.write(request))
        return refused
      }
      return expect.poll(look, patience).toBe(5)
    }
    const asked = (method: string) => gateway.actions.asked.filter((each) => each.method === method).length

    test('take no more than the share of their key: others are served, and what no longer fits is refused to that key alone', async () => {
      const one = `GET ${path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${apiKey}\r\n\r\n`
      const sockets = Array.from({ length: 4 }, () => unread(10, one))
      await fill(sockets, one)
      // The service itself has to have sent what it was asked for all at once.
      await expect.poll(() => as(stranger), patience).toBe(200)
      for (const key of [colleague, stranger, colleague, stranger]) expect(await as(key)).toBe(200)
      expect(await inFlight()).toBeLessThan(admissionLimits.caller + MB)
      sockets.forEach((each) => each.destroy())
      await expect.poll(inFlight, patience).toBe(0)
      expect((await gateway.call(path)).status).toBe(200)
    })

    test('of what was done are told all the same, and take room from their caller alone', async () => {
      goOn()
      gateway.actions.handlers.executeAction = async (_request, call) => executed(call.requestId, { error: 'x'.repeat(3 * MB) })
      const body = JSON.stringify({ preview_id: '3a033cc1-0000-4000-8000-000000000002' })
      const one = `POST /actions/execute HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${apiKey}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
      // The kernel takes some of it, as much as it likes: what is offered is far more, and what has to stay here is little.
      const sockets = Array.from({ length: 2 }, () => unread(12, one))
      // More than its share, twice over: what was done is not refused.
      await expect.poll(inFlight, patience).toBeGreaterThan(2 * admissionLimits.caller)
      expect(asked('executeAction')).toBeGreaterThan(4)
      expect((await gateway.call('/actions')).status).toBe(503)
      for (const key of [colleague, stranger]) {
        const headers = { authorization: `Bearer ${key}` }
        await expect.poll(async () => (await gateway.call(path, { headers })).status, patience).toBe(200)
      }
      sockets[0]!.resume()
      let text = ''
      sockets[0]!.on('data', (chunk) => (text += chunk.toString('latin1')))
      await expect.poll(() => text.length, patience).toBeGreaterThan(3 * MB)
      expect(text).toMatch(/^HTTP\/1\.1 200 /)
      sockets.forEach((each) => each.destroy())
      await expect.poll(inFlight, patience).toBe(0)
    })
  })

  test('are let go when the client goes, and when the service fails', async () => {
    gateway.actions.handlers.previewAction = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())
    for (let index = 0; index < 3 * fit(admissionLimits.caller); index += 1) expect((await preview(apiKey)).status).toBe(503)
    gateway.actions.handlers.previewAction = () => new Promise(() => undefined)
    const before = gateway.actions.asked.length
    const gone = Array.from({ length: fit(admissionLimits.caller) }, () => {
      const started = httpRequest(`${gateway.url}/actions/preview`, {
        method: 'POST',
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      })
      started.on('error', () => undefined)
      started.end(JSON.stringify({ action: 'a', params: { text: 'x'.repeat(MB) } }))
      return started
    })
    await arrived(before + gone.length)
    gone.forEach((each) => each.destroy())
    gateway.actions.handlers.previewAction = () => Promise.reject(meshErrors.INTERNAL())
    await expect.poll(async () => (await preview(apiKey)).status, patience).toBe(500)
  })
})

describe('the limit of a workspace', () => {
  test('counts a request by its size, with a length or without', async () => {
    goOn()
    await preview(apiKey, 10)
    await preview(apiKey, 3 * 65_536)
    const body = JSON.stringify({ action: 'a', params: { text: 'x'.repeat(3 * 65_536) } })
    const stream = new ReadableStream({ start: (sink) => (sink.enqueue(Buffer.from(body)), sink.close()) })
    const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
    const response = await fetch(`${gateway.url}/actions/preview`, { method: 'POST', headers, body: stream, duplex: 'half' })
    expect(response.status).toBe(200)
    expect(counted.map(({ hits }) => hits)).toEqual([1, hitsOf(body.length), 1, hitsOf(body.length) - 1])
    expect(hitsOf(body.length)).toBe(4)
  })
})
