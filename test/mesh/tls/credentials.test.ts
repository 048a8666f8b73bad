import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { AuthorizationService } from '#gen/envoy/service/auth/v3/external_auth.ts'
import { HealthClient } from '#gen/grpc/health/v1/health.ts'
import { ServerReflectionClient } from '#gen/grpc/reflection/v1/reflection.ts'
import { CompleteRequest } from '#gen/relay/idempotency/v1/idempotency.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import type { Tls } from '#mesh/tls/credentials.ts'
import type { Certificate, CertificateRequest } from '../../fakes/certificate.ts'
import { idOf } from '../../fakes/mesh-certificates.ts'
import {
  atEnd,
  calls,
  certificates,
  channelTo,
  complete,
  completing,
  end,
  lives,
  problemOf,
  secured,
  serve,
  strangers,
} from '../../fixtures/mesh/mtls.ts'
import { frame, rawCall } from '../../fixtures/mesh/raw-call.ts'
import { type TestServer, callerToken, failureOf, mesh, requests } from '../../fixtures/mesh/server.ts'
import { until } from '../../fixtures/mesh/until.ts'

afterEach(end)

const completePath = '/relay.idempotency.v1.IdempotencyService/Complete'
const completeBytes = frame(CompleteRequest.encode(CompleteRequest.fromPartial(requests.complete)).finish())
const raw = (server: TestServer, headers: Record<string, string>, shown: Partial<Certificate> = certificates.issue('actions')) =>
  rawCall(server.port, completePath, completeBytes, headers, secured(shown))
const rawList = (server: TestServer, headers: Record<string, string>, shown: Partial<Certificate> = certificates.issue('actions')) =>
  rawCall(server.port, '/relay.actions.v1.ActionsService/ListActions', frame(Buffer.alloc(0)), headers, secured(shown))

describe('a service with a certificate of the CA', () => {
  test('is served, under the name in its certificate, and shows no token', async () => {
    const server = await serve()
    await complete(server, { tls: certificates.open('actions'), peerToken: mesh.peerToken('gateway') })
    expect(calls).toMatchObject([{ peer: 'actions', peerToken: undefined, source: '127.0.0.1' }])
  })

  test('may show a token of its own name beside it, and no other', async () => {
    const server = await serve()
    const showing = (token: string) => raw(server, { 'x-relay-peer': token })
    expect(await showing(mesh.peerToken('actions')('idempotency'))).toMatchObject({ status: 0 })
    expect(await showing(mesh.peerToken('gateway')('idempotency'))).toMatchObject({
      status: 16,
      message: 'x-relay-peer names another service than the certificate.',
    })
    expect(await showing('forged')).toMatchObject({ status: 16, message: 'x-relay-peer does not prove a service of this mesh.' })
    expect(calls).toHaveLength(1)
  })

  test('is believed where it says that an outside request came from', async () => {
    const server = await serve()
    await raw(server, { 'x-relay-source': '203.0.113.9' })
    expect(calls).toMatchObject([{ peer: 'actions', source: '203.0.113.9' }])
  })

  test('is refused what its name is not among the peers of', async () => {
    const server = await serve()
    const check = (name: string) =>
      methodsOf(AuthorizationService, channelTo(server, { tls: certificates.open(name) })).check({}, ownContext())
    await expect(check('envoy')).resolves.toBeDefined()
    for (const name of ['actions', 'envoy2', 'gateway']) await expect(check(name)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
  })

  test('that is Envoy’s brings requests of anybody: it is not any service, and is not believed where they came from', async () => {
    const server = await serve()
    const envoy = certificates.issue('envoy')
    expect(await raw(server, {}, envoy)).toMatchObject({ status: 7 })
    const said = { authorization: `Bearer ${callerToken}`, 'x-relay-source': '203.0.113.9' }
    expect(await rawList(server, said, envoy)).toMatchObject({ status: 0 })
    expect(calls).toMatchObject([{ method: { name: 'ListActions' }, peer: 'envoy', source: '127.0.0.1' }])
  })

  test('is no caller by it: what wants a permission wants a caller’s token too', async () => {
    const server = await serve()
    expect(await rawList(server, {})).toMatchObject({ status: 16 })
    expect(await rawList(server, { authorization: `Bearer ${callerToken}` })).toMatchObject({ status: 0 })
  })

  test('sees its calls end in order when the server drains, and none is held up by who is idle or has not said who it is', async () => {
    const server = await serve()
    const channel = channelTo(server, { tls: certificates.open('actions') })
    await completing(channel)
    const idle = connectTls({ ...secured(certificates.issue('gateway')), port: server.port })
    const silent = connectTcp(server.port)
    await Promise.all([once(idle, 'secureConnect'), once(silent, 'connect')])
    atEnd(() => [idle, silent].forEach((socket) => socket.destroy()))
    expect(await server.grpc.drain(5000)).toBe(true)
    await expect(completing(channel)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('keeps its name on each of many connections at once', async () => {
    const server = await serve()
    const names = ['actions', 'gateway', 'ratelimit']
    const channels = names.map((name) => channelTo(server, { tls: certificates.open(name) }))
    await Promise.all(Array.from({ length: 60 }, (_, index) => completing(channels[index % 3]!)))
    for (const name of names) expect(calls.filter(({ peer }) => peer === name)).toHaveLength(20)
  })
})

const refused = 'a connection was rejected'
const refusal = (server: TestServer) => until('the server says so', () => server.lines.some(({ msg }) => msg === refused))

describe('who has no certificate that is valid for this mesh is not spoken to:', () => {
  const [past, future] = [Date.now() - 60_000, Date.now() + 60_000]
  test.each<[string, () => Partial<Certificate>, string]>([
    ['none at all', () => ({}), 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE'],
    ['one of another CA of the same name', () => strangers.issue('actions'), 'CERT_SIGNATURE_FAILURE'],
    ['one that expired', () => certificates.issue('actions', { notBefore: past - 60_000, notAfter: past }), 'CERT_HAS_EXPIRED'],
    ['one for later', () => certificates.issue('actions', { notBefore: future, notAfter: future + 60_000 }), 'CERT_NOT_YET_VALID'],
    ['one that is for servers alone', () => certificates.issue('actions', { usages: ['server'] }), 'INVALID_PURPOSE'],
  ])('%s', async (_, shown, problem) => {
    const server = await serve()
    const calling = raw(server, { 'x-relay-peer': mesh.peerToken('actions')('idempotency') }, shown())
    expect(await calling.catch(() => ({ status: undefined }))).toMatchObject({ status: undefined })
    await refusal(server)
    expect(server.lines).toMatchObject([{ level: 'warn', msg: refused, problem }])
    expect(calls).toHaveLength(0)
    await lives(server)
  })

  test('a channel with such a certificate, which hears that there is no connection', async () => {
    const server = await serve()
    const tls = certificates.careless(strangers.issue('actions'))
    expect(await problemOf(complete(server, { tls }))).toContain('No connection established')
    await refusal(server)
    await lives(server)
  })

  test('a client that speaks TLS 1.2', async () => {
    const server = await serve()
    const socket = connectTls({ ...secured(certificates.issue('actions')), port: server.port, maxVersion: 'TLSv1.2' })
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
    expect(error.code).toBe('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION')
    await lives(server)
  })

  test('a client that speaks no TLS', async () => {
    const server = await serve()
    const error = await failureOf(complete(server, { peerToken: mesh.peerToken('actions') }))
    expect(error.code).toBe('UNAVAILABLE')
    await refusal(server)
    await lives(server)
  })

  test('a hundred of them at once are one line in the log, and no trouble', async () => {
    const server = await serve()
    const attempts = Array.from({ length: 100 }, async () => {
      const socket = connectTcp(server.port)
      socket.on('error', () => undefined).resume()
      socket.end('GET / HTTP/1.1\r\n\r\n')
      await once(socket, 'close')
    })
    await Promise.all(attempts)
    await lives(server)
    expect(server.lines.filter(({ msg }) => msg === refused).length).toBeLessThan(5)
  })
})

describe('who has a certificate of the CA that names no service gets nothing:', () => {
  const wanted = 'URI names where exactly one is wanted'
  const otherwise = 'has a URI name that is not spiffe://relay/<service>'

  test.each<[string, CertificateRequest, string]>([
    ['two URI names', { uris: [idOf('actions'), idOf('gateway')] }, `has 2 ${wanted}`],
    ['its ID and another URI', { uris: [idOf('actions'), 'https://actions.example/'] }, `has 2 ${wanted}`],
    ['no URI name', { uris: [], dnsNames: ['actions'] }, `has 0 ${wanted}`],
    ['no name', { uris: [], commonName: 'actions' }, `has 0 ${wanted}`],
    ['another trust domain', { uris: ['spiffe://other/actions'] }, otherwise],
    ['a longer path', { uris: ['spiffe://relay/ns/actions'] }, otherwise],
    ['a DNS name like an ID', { uris: [], dnsNames: ['x, URI:spiffe://relay/actions'] }, `has 0 ${wanted}`],
    ['that of an authority', { authority: true }, 'is an authority’s'],
  ])('%s', async (_, request, problem) => {
    const shown = certificates.issue('actions', request)
    const server = await serve()
    const response = { status: 16, message: `The client certificate ${problem}.` }
    expect(await raw(server, { 'x-relay-peer': mesh.peerToken('actions')('idempotency') }, shown)).toMatchObject(response)
    expect(await rawList(server, { authorization: `Bearer ${callerToken}` }, shown)).toMatchObject(response)
    expect(calls).toHaveLength(0)
    expect(server.lines.map(({ reason }) => reason)).toEqual(['UNAUTHENTICATED', 'UNAUTHENTICATED'])

    // Not even whether it serves, and what.
    const credentials = certificates.careless(shown).credentials('idempotency')
    const options = { 'grpc.ssl_target_name_override': 'idempotency' }
    const health = new HealthClient(server.address, credentials, options)
    const reflection = new ServerReflectionClient(server.address, credentials, options)
    atEnd(() => [health, reflection].forEach((client) => client.close()))
    const status = { code: 16, details: response.message }
    expect(await new Promise((resolve) => health.check({ service: '' }, resolve))).toMatchObject(status)
    expect((await once(health.watch({ service: '' }).resume(), 'error'))[0]).toMatchObject(status)
    const stream = reflection.serverReflectionInfo()
    const ended = once(stream.resume(), 'error')
    stream.write({ host: '', messageRequest: { $case: 'listServices', value: '' } })
    expect((await ended)[0]).toMatchObject(status)
    await lives(server)
  })
})

describe('a channel to a service', () => {
  const impostor = (request: CertificateRequest) => certificates.careless(certificates.issue('idempotency', request))

  test.each<[string, () => Tls, string]>([
    ['of another service', () => certificates.open('ratelimit'), 'the certificate of the server is for ratelimit: idempotency was called'],
    ['of a client that has its place', () => certificates.open('actions'), 'is for actions: idempotency was called'],
    ['with two URI names', () => impostor({ uris: [idOf('idempotency'), idOf('ratelimit')] }), 'has 2 URI names'],
    ['with the service as DNS name', () => impostor({ uris: [], dnsNames: ['idempotency', 'localhost'] }), 'has 0 URI names'],
    ['of another trust domain', () => impostor({ uris: ['spiffe://other/idempotency'] }), 'is not spiffe://relay/<service>'],
    ['of another CA of the same name', () => strangers.open('idempotency'), 'certificate signature failure'],
    ['that expired', () => impostor({ notBefore: 0, notAfter: Date.now() - 60_000 }), 'certificate has expired'],
    ['that is for clients alone', () => impostor({ usages: ['client'] }), 'unsuitable certificate purpose'],
  ])('does not speak to a server with a certificate %s, and says why', async (_, shown, problem) => {
    const server = await serve(shown())
    expect(await problemOf(complete(server, { tls: certificates.open('actions') }))).toContain(problem)
    expect(calls).toHaveLength(0)
  })

  test('does not speak to a server without TLS', async () => {
    const server = await serve(null)
    expect(await problemOf(complete(server, { tls: certificates.open('actions') }))).toMatch(/SSL|wrong version|packet length/i)
    expect(calls).toHaveLength(0)
  })

  test('does not lend its connection to a channel to another service at the same address', async () => {
    const server = await serve()
    const tls = certificates.open('actions')
    await completing(channelTo(server, { tls }))
    expect(await problemOf(complete(server, { tls, service: 'ratelimit' }))).toContain('is for idempotency: ratelimit was called')
  })

  test('is only made where it is said to which', () => {
    expect(() => new Channel({ address: '127.0.0.1:1', tls: certificates.open('actions') })).toThrow('over mTLS a channel needs the name')
  })

  test('is told that a replica serves', async () => {
    const server = await serve()
    await channelTo(server, { tls: certificates.open('gateway') }).serving(2000)
    await expect(channelTo(server, { tls: certificates.open('gateway'), service: 'access' }).serving(2000)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
  })
})

test('a session is not resumed: everybody shows a certificate on every connection', async () => {
  const server = await serve()
  const open = async (session?: Buffer) => {
    const socket = connectTls({ ...secured(certificates.issue('actions')), port: server.port, session })
    let ticket: Buffer | undefined
    socket.on('session', (given: Buffer) => (ticket = given)).on('error', () => undefined)
    await once(socket, 'secureConnect')
    await once(socket, 'data')
    const reused = socket.isSessionReused()
    socket.destroy()
    return { ticket, reused }
  }
  const first = await open()
  expect((await open(first.ticket)).reused).toBe(false)
})
