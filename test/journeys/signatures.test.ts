/** Signature keys: none is made from another, and one is replaced while receivers and clients are moved from the older to the newer. */
import { createHmac, hkdfSync, randomUUID } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { storedSecret } from '../../deploy/local/state/state-dir.ts'
import { type ReceivedRequest, type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Api, type Journey, api, journey, until } from './journey.ts'

let harness: Journey
let receiver: Receiver
let legacy: string
beforeAll(async () => {
  receiver = await startReceiver()
  harness = await journey({ replicas: { actions: 2 } })
  legacy = storedSecret(harness.mesh.folder, 'actions_signing_secret')
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
})

const hex = (key: Buffer | string, bytes: Buffer): string => createHmac('sha256', key).update(bytes).digest('hex')
const bytesOf = (secret: string): Buffer => Buffer.from(secret.replace('whsec_', ''), 'base64')
const ok = async (reply: ReturnType<Api['call']>) => {
  const { status, body, text } = await reply
  expect(status, text).toBe(200)
  return body
}
const manage = (by: Api, purpose: string, what: 'reveal' | 'replace' | 'end-overlap') =>
  ok(by.call('POST', `/access/signature-keys/${purpose}/${what}`, { body: {} }))
const adminOf = async (workspace: string): Promise<Api> =>
  api({ gateways: harness.mesh.gateways, apiKey: await harness.mesh.createKey({ workspace, role: 'admin', actor: 'ann' }) })

async function deliver(by: Api): Promise<ReceivedRequest> {
  const run = await ok(by.execute(await by.previewId(receiver.url)))
  expect(run.status).toBe('success')
  return receiver.deliveries.at(-1)!
}
const verifies = (secret: string, { body, headers }: ReceivedRequest): boolean => {
  try {
    new Webhook(secret).verify(body, headers as Record<string, string>)
    return true
  } catch {
    return false
  }
}

describe('signature keys', () => {
  test('the key of default cannot derive the key of a new workspace, in either direction', async () => {
    const workspace = `acme-${randomUUID()}`
    const acme = await adminOf(workspace)
    const shown = await manage(acme, 'outbound', 'reveal')
    const sent = await deliver(acme)
    expect(verifies(shown.secret, sent)).toBe(true)
    expect(sent.headers['x-signature']).toBe(hex(bytesOf(shown.secret), sent.body))
    const guess = Buffer.from(hkdfSync('sha256', legacy, 'relay/signature/v1', `workspace:${workspace}`, 32))
    for (const key of [guess, Buffer.from(legacy)]) expect(verifies(`whsec_${key.toString('base64')}`, sent)).toBe(false)
    const body = JSON.stringify({ action: 'webhook.save', params: { url: receiver.url } })
    const signed = (key: Buffer | string) =>
      acme.call('POST', '/actions/preview', {
        raw: body,
        headers: { 'content-type': 'application/json', 'x-signature': hex(key, Buffer.from(body)) },
      })
    for (const key of [guess, legacy]) expect((await signed(key)).status).toBe(401)
    // What its receivers verify with signs no requests in its name.
    expect((await signed(bytesOf(shown.secret))).status).toBe(401)
    expect((await signed(bytesOf((await manage(acme, 'inbound', 'reveal')).secret))).status).toBe(200)
  })

  test('a receiver of default keeps its key until the overlap ends; then only the new key signs, on every replica', async () => {
    const both = await deliver(harness.api)
    const { secret, key, previous_secret: previous } = await manage(harness.api, 'outbound', 'reveal')
    expect([key.generation, key.previous_generation, previous]).toEqual([1, 0, null])
    expect(both.headers['x-signature']).toBe(hex(legacy, both.body))
    const old = `whsec_${Buffer.from(legacy).toString('base64')}`
    expect([old, secret].map((each) => verifies(each, both))).toEqual([true, true])
    await manage(harness.api, 'outbound', 'end-overlap')
    await until(
      () => deliver(harness.api),
      (sent) => !verifies(old, sent),
      10_000,
    )
    // The other replica has heard within a second as well.
    await until(
      async () => Promise.all([1, 2, 3, 4].map(() => deliver(harness.api))),
      (sent) => sent.every((each) => !verifies(old, each)),
      10_000,
    )
    const after = await deliver(harness.api)
    expect(after.headers['x-signature']).toBe(hex(bytesOf(secret), after.body))
  })

  test('a client learns that it signs with the older key, and is rejected after its overlap has ended', async () => {
    const body = JSON.stringify({ action: 'webhook.save', params: { url: receiver.url } })
    const headers = { 'content-type': 'application/json', 'x-signature': hex(legacy, Buffer.from(body)) }
    const signed = () => harness.api.call('POST', '/actions/preview', { raw: body, headers })
    const flagged = await signed()
    expect([flagged.status, flagged.headers['x-signature-key']]).toEqual([200, 'previous'])
    await manage(harness.api, 'inbound', 'end-overlap')
    await until(signed, ({ status }) => status === 401, 10_000)
  })
})
