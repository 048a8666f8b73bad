/**
 * Where the attacks of attacks.test.ts take place: a mesh with keys of every kind, and servers of the same classes whose issuer and services'
 * keys are the test's, for tokens that only their issuer could have signed; and the ways in which all of them are approached.
 */
import { createHmac, generateKeyPairSync, randomUUID } from 'node:crypto'
import { Client, Metadata, type ServiceError, credentials } from '@grpc/grpc-js'
import { request } from 'undici'
import { AppendEventsRequest } from '#gen/relay/access/v1/audit.ts'
import { AccessServiceService, ExchangeRequest } from '#gen/relay/access/v1/access.ts'
import { ActionsServiceService } from '#gen/relay/actions/v1/actions.ts'
import { CheckRequest } from '#gen/envoy/service/auth/v3/external_auth.ts'
import { ClaimRequest, CompleteRequest, IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer, served } from '#mesh/grpc/server.ts'
import { fromServiceError } from '#mesh/grpc/status.ts'
import { privateKeyOf, xOf } from '#mesh/identity/ed25519.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type ActionsStandIn, startActions } from '../fakes/actions-service.ts'
import { type FakeMesh, fakeMesh, jwt } from '../fakes/identity.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Journey, journey, until } from './journey.ts'

type Role = 'admin' | 'viewer' | 'operator' | 'developer'
type KeyName = Role | 'previewOnly' | 'reader' | 'keyMaker' | 'elsewhere' | 'other' | 'revoked' | 'expired' | 'rotated'

/** The keys, runs and tokens that the attempts are made with. */
export interface World {
  on: Journey
  receiver: Receiver
  key: Record<KeyName, string>
  /** Of keys that somebody else has. */
  id: Record<'admin' | 'other' | 'colleague', string>
  /** A run and a preview of the admin of "default". */
  run: string
  preview: string
  /** A caller token of the operator, as the mesh made it. */
  token: string
  /** A mesh whose issuer and services' keys the test has, and servers of it. */
  forged: FakeMesh
  actions: ActionsStandIn
  idempotency: string
}

export let fixture: World
const stops: (() => unknown)[] = []

export async function openWorld(): Promise<void> {
  fixture = await build()
}

export async function closeWorld(): Promise<void> {
  for (const stop of stops.reverse()) await stop()
}

/** What came back, in the words of the table: `403 PERMISSION_DENIED`. */
export type Answer = string
export type Attempt = (fixture: World) => Promise<Answer>

export async function http(method: 'GET' | 'POST' | 'DELETE', path: string, headers: string[], body?: unknown): Promise<Answer> {
  const payload = body === undefined ? null : JSON.stringify(body)
  const type = body === undefined ? [] : ['content-type', 'application/json']
  const response = await request(fixture.on.mesh.gateway + path, { method, headers: [...headers, ...type], body: payload })
  const text = await response.body.text()
  const reason = response.statusCode < 400 ? 'DONE' : ((JSON.parse(text) as { reason?: string }).reason ?? '')
  return `${response.statusCode} ${reason}`
}
export const bearer = (key: string) => ['authorization', `Bearer ${key}`]
export const get = (path: string, key: string, ...more: string[]) => http('GET', path, [...bearer(key), ...more])
export const post = (path: string, key: string, body: unknown) => http('POST', path, bearer(key), body)
export const list = (key: string, ...more: string[]) => get('/actions', key, ...more)
export const preview = (key: string) =>
  post('/actions/preview', key, { action: 'webhook.save', params: { url: `${fixture.receiver.url}/attack`, body: {} } })
export const execute = (key: string, id = fixture.preview) => post('/actions/execute', key, { preview_id: id })
export const create = (key: string, more: object = {}) => post('/access/keys', key, { name: 'attack', role: 'viewer', ...more })

/** A call with whatever metadata, in the words of the table: `UNAUTHENTICATED`. */
export function grpc(address: string, path: string, bytes: Uint8Array, metadata: Record<string, string>): Promise<Answer> {
  const client = new Client(address, credentials.createInsecure())
  const sent = new Metadata()
  for (const [name, value] of Object.entries(metadata)) sent.set(name, value)
  const asIs = (each: Buffer) => each
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, asIs, asIs, Buffer.from(bytes), sent, { deadline: Date.now() + 5000 }, (error: ServiceError | null) => {
      client.close()
      resolve(error === null ? 'DONE' : fromServiceError(error).reason)
    })
  })
}
export const addressOf = (service: string) => fixture.on.mesh.services[service]!.grpc
export const none = Buffer.alloc(0)
export const withToken = (token: string) => ({ authorization: `Bearer ${token}` })
export const asPeer = (token: string) => ({ 'x-relay-peer': token })
export const listDirectly = (token: string) => grpc(addressOf('actions'), ActionsServiceService.listActions.path, none, withToken(token))
export const listForged = (token: string) => grpc(fixture.actions.address, ActionsServiceService.listActions.path, none, withToken(token))

const claimKey = { workspace: 'default', keyKind: 'client', key: 'attack' }
const complete = CompleteRequest.encode({ key: claimKey, runId: randomUUID() }).finish()
const claim = ClaimRequest.encode({ key: claimKey, attemptId: randomUUID(), runId: randomUUID(), leaseMs: 0 }).finish()
export const append = AppendEventsRequest.encode({ events: [] }).finish()
export const completeWith = (metadata: Record<string, string>) =>
  grpc(addressOf('idempotency'), IdempotencyServiceService.complete.path, complete, metadata)
export const claimWith = (metadata: Record<string, string>) =>
  grpc(addressOf('idempotency'), IdempotencyServiceService.claim.path, claim, metadata)
export const completeForged = (metadata: Record<string, string>) =>
  grpc(fixture.idempotency, IdempotencyServiceService.complete.path, complete, metadata)
export const toAccess = ({ path }: { path: string }, bytes: Uint8Array, metadata: Record<string, string> = {}) =>
  grpc(addressOf('access'), path, bytes, metadata)
export function exchange(apiKey: string, source?: string): Promise<Answer> {
  const bytes = ExchangeRequest.encode({ apiKey, source }).finish()
  return toAccess(AccessServiceService.exchange, bytes, source === undefined ? {} : { 'x-relay-source': source })
}
export const checkOfEnvoy = CheckRequest.encode({ attributes: undefined }).finish()

/** Parts of a token: header, claims, signature. */
export const partsOf = (token: string) => token.split('.') as [string, string, string]
export const json = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
/** The token with something else in it, and the signature that it had. */
export function tampered(token: string, to: { header?: object; claims?: object; signature?: string }): string {
  const [head, body, signed] = partsOf(token)
  return [encode({ ...json(head), ...to.header }), encode({ ...json(body), ...to.claims }), to.signature ?? signed].join('.')
}
export const flip = (text: string, at: number) => text.slice(0, at) + (text[at] === 'x' ? 'y' : 'x') + text.slice(at + 1)

/** Algorithm confusion: the verifier's public key used as the secret of an HMAC. */
export function hs256(forged: FakeMesh): string {
  const [, claims] = partsOf(forged.callerToken())
  const { kid, x } = forged.signingKeys[0]!
  const signed = `${encode({ alg: 'HS256', kid, typ: 'relay-caller+jwt' })}.${claims}`
  return `${signed}.${createHmac('sha256', Buffer.from(x, 'base64url')).update(signed).digest('base64url')}`
}

/** A peer token signed with the key of a service, whatever it claims; `stranger` is none that the mesh knows. */
export function signedBy(forged: FakeMesh, service: string, claims: Record<string, unknown> = {}): string {
  const key = service === 'stranger' ? generateKeyPairSync('ed25519').privateKey : privateKeyOf(forged.seedOf(service))
  const iat = Math.floor(Date.now() / 1000)
  const usual = { iss: service, sub: service, aud: 'relay-mesh/idempotency', iat, exp: iat + 60 }
  return jwt({ alg: 'EdDSA', kid: xOf(key), typ: 'relay-peer+jwt' }, { ...usual, ...claims }, key)
}

async function build(): Promise<World> {
  const harness = await journey()
  stops.push(() => harness.end())
  const receiver = await startReceiver()
  stops.push(() => receiver.close())
  const ids: Record<string, string> = {}
  /** Made over HTTP by an admin, as a person would. */
  const make = async (name: string, body: object, by = harness.mesh.apiKey): Promise<string> => {
    const reply = await harness.api.call('POST', '/access/keys', { body: { name, ...body }, headers: { authorization: `Bearer ${by}` } })
    if (reply.status !== 200) throw new Error(`no key ${name}: ${reply.text}`)
    ids[name] = reply.body.key.key_id as string
    return reply.body.api_key as string
  }
  const other = await harness.mesh.createKey({ workspace: 'other', role: 'admin', actor: 'olga' })
  const key: World['key'] = {
    admin: await make('admin', { role: 'admin' }),
    viewer: await make('viewer', { role: 'viewer', actor: 'vera' }),
    operator: await make('operator', { role: 'operator', actor: 'oscar' }),
    developer: await make('developer', { role: 'developer', actor: 'dora' }),
    previewOnly: await make('preview-only', { role: 'developer', preview_only: true }),
    reader: await make('reader', { role: 'operator', scopes: ['actions:read'] }),
    keyMaker: await make('key-maker', { role: 'developer', scopes: ['keys:write'] }),
    elsewhere: await make('elsewhere', { role: 'viewer', allowed_sources: ['203.0.113.0/24'] }),
    revoked: await make('revoked', { role: 'viewer' }),
    expired: await make('expired', { role: 'viewer', expires_in: 1 }),
    rotated: await make('rotated', { role: 'viewer' }),
    other,
  }
  await make('colleague', { role: 'viewer', actor: 'carl' })
  const otherKeys = await harness.api.call('GET', '/access/keys', { headers: { authorization: `Bearer ${other}` } })

  const shown = await harness.api.previewId(`${receiver.url}/attacked`)
  const ran = await harness.api.execute(shown)
  const left = await harness.api.previewId(`${receiver.url}/attacked`)
  const token = await exchanged(harness.mesh.services['access']!.grpc, key.operator)

  // They were good once: the refusal is of what became of them.
  for (const name of ['revoked', 'rotated'] as const) {
    const reply = await harness.api.call('GET', '/actions', { headers: { authorization: `Bearer ${key[name]}` } })
    if (reply.status !== 200) throw new Error(`${name} was never good`)
  }
  await harness.api.call('DELETE', `/access/keys/${ids['revoked']}`)
  await harness.api.call('POST', `/access/keys/${ids['rotated']}/rotate`, { body: { overlap: 0 } })
  for (const name of ['revoked', 'rotated', 'expired'] as const) {
    await until(
      () => harness.api.call('GET', '/actions', { headers: { authorization: `Bearer ${key[name]}` } }),
      (reply) => reply.status === 401,
      10_000,
    )
  }

  const forged = fakeMesh()
  forged.revocations.push({ keyId: 'revoked-key', notAfterMs: 0 })
  const actions = await startActions(forged.verifierFor('actions'))
  stops.push(() => actions.stop())
  const reached = async (): Promise<never> => {
    throw new Error('an attack reached a handler')
  }
  const idempotency = new GrpcServer({
    services: [
      served(IdempotencyServiceService, {
        claim: reached,
        renew: reached,
        complete: reached,
        release: reached,
        listExpired: reached,
        abandon: reached,
      }),
    ],
    verifier: forged.verifierFor('idempotency'),
    health: new Health({ services: [] }),
    log: createLogger('idempotency', 'silent'),
    metrics: new Metrics('idempotency'),
  })
  const port = await idempotency.listen({ host: '127.0.0.1', port: 0 })
  stops.push(() => idempotency.drain(0))
  return {
    on: harness,
    receiver,
    key,
    id: { admin: ids['admin']!, colleague: ids['colleague']!, other: otherKeys.body.keys[0].key_id as string },
    run: ran.body.run_id as string,
    preview: left,
    token,
    forged,
    actions,
    idempotency: `127.0.0.1:${port}`,
  }
}

/** What the exchange answers to a key, asked directly. */
function exchanged(address: string, apiKey: string): Promise<string> {
  const client = new Client(address, credentials.createInsecure())
  return new Promise((resolve, reject) => {
    const { path, requestSerialize, responseDeserialize } = AccessServiceService.exchange
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { apiKey, source: undefined }, (error, response) => {
      client.close()
      if (error !== null) reject(error)
      else resolve(response!.token)
    })
  })
}
