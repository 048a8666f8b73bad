import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ConnectError } from '#mesh/outgoing/connect.ts'
import { type Lookup, NameResolver } from '#mesh/outgoing/resolver.ts'
import { runInScope } from '#mesh/telemetry/scope.ts'
import { beginTrace, setTracer } from '#mesh/telemetry/tracing.ts'
import { parsePolicy, publicOnly } from '../../../../services/actions/egress/egress-policy.ts'
import { outgoing } from '../../../../services/actions/egress/outgoing.ts'

import { type DnsServer, type Zone, startDnsServer } from '../../../fakes/dns-server.ts'
import { selfSignedCertificate } from '../../../fakes/certificate.ts'
import { SpanRecorder } from '../../../fakes/span-recorder.ts'

const loopback = parsePolicy(['127.0.0.0/8', '::1/128'])
const never = new AbortController().signal
const workspace = 'default'
const resolvesTo =
  (...addresses: string[]): Lookup =>
  async () =>
    addresses
const notFound: Lookup = async () => {
  throw Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' })
}

const servers: net.Server[] = []
const sockets: net.Socket[] = []
const dnsServers: DnsServer[] = []
afterEach(async () => {
  for (const dns of dnsServers.splice(0)) await dns.close()
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) server.close()
})

/** A listener on loopback that keeps every connection it accepts. */
async function listen(server: net.Server) {
  const accepted: net.Socket[] = []
  server.on('connection', (socket) => {
    accepted.push(socket)
    sockets.push(socket.on('error', () => undefined))
  })
  servers.push(server.listen(0, '127.0.0.1'))
  await once(server, 'listening')
  return { accepted, port: (server.address() as AddressInfo).port }
}

/** How a connect fails. */
async function failure(connecting: Promise<unknown>): Promise<ConnectError> {
  const error = await connecting.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ConnectError)
  return error as ConnectError
}

describe('the check for a preview', () => {
  test.each([
    ['a private address', 'http://10.0.0.1/', 'leads to a private address.'],
    ['a name that is never public', 'http://localhost/', 'leads to a name that is never public.'],
    ['no URL', 'example', 'must begin with http:// or https:// and a host.'],
  ])('refuses %s', async (_what, url, description) => {
    await expect(outgoing({ policy: publicOnly, lookup: notFound }).check(url, workspace, never)).rejects.toMatchObject({
      reason: 'TARGET_REFUSED',
      code: 'INVALID_ARGUMENT',
      violations: [{ field: 'params.url', description }],
    })
  })

  test('rejects a name if one address among good ones is not public, without naming it', async () => {
    const { check } = outgoing({ policy: publicOnly, lookup: resolvesTo('93.184.216.34', '10.20.30.40', '2606:4700::1111') })
    const error = await check('https://hook.example/', workspace, never).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toMatchObject({ reason: 'TARGET_REFUSED' })
    expect(JSON.stringify(error)).not.toContain('10.20.30.40')
  })

  test('allows a name whose addresses are all public', async () => {
    const { check } = outgoing({ policy: publicOnly, lookup: resolvesTo('93.184.216.34', '2606:4700::1111') })
    expect(await check('https://hook.example/', workspace, never)).toMatchObject({
      target: { host: 'hook.example', port: 443 },
      warnings: [],
    })
  })

  test('warns of a target that only the configuration allows', async () => {
    const { check } = outgoing({ policy: loopback, lookup: resolvesTo('127.0.0.1') })
    const warnings = ['The target is not public: it is allowed by the configuration here.']
    expect(await check('http://localhost/', workspace, never)).toMatchObject({ warnings })
    expect(await check('http://127.1/', workspace, never)).toMatchObject({ warnings })
  })

  test('warns of a name that does not resolve, or not in time', async () => {
    const warnings = ['The name hook.example does not resolve now. It will be resolved again when the request is sent.']
    expect(await outgoing({ policy: publicOnly, lookup: notFound }).check('https://hook.example/', workspace, never)).toMatchObject({
      warnings,
    })
    const slow = outgoing({ policy: publicOnly, lookup: () => new Promise(() => undefined) })
    expect(await slow.check('https://hook.example/', workspace, AbortSignal.abort())).toMatchObject({ warnings })
  })
})

describe('a DNS server that lies', () => {
  const fixture = async (zone: Zone) => {
    const dns = await startDnsServer(zone)
    dnsServers.push(dns)
    return outgoing({ policy: loopback, lookup: new NameResolver({ servers: [dns.address] }).lookup })
  }

  test('leads only to checked addresses: not to one among good ones, nor to another one the next time', async () => {
    const { accepted, port } = await listen(net.createServer())
    let times = 0
    const turned = ({ type }: { type: string }) => (type === 'A' ? { A: [(times += 1) === 1 ? '127.0.0.1' : '10.0.0.1'], ttl: 0 } : {})
    const { check, connect } = await fixture({
      'mixed.example': { A: ['127.0.0.1', '10.0.0.1'] },
      'turned.example': turned,
      'six.example': { A: ['127.0.0.1'], AAAA: ['fe80::1'] },
    })
    for (const name of ['mixed', 'six']) {
      await expect(check(`http://${name}.example:${port}/`, workspace, never)).rejects.toMatchObject({ reason: 'TARGET_REFUSED' })
      expect((await failure(connect(`http://${name}.example:${port}/`, workspace, never))).kind).toBe('refused')
    }
    await check(`http://turned.example:${port}/`, workspace, never)
    expect((await failure(connect(`http://turned.example:${port}/`, workspace, never))).kind).toBe('refused')
    expect(accepted).toHaveLength(0)
  })

  test('or is silent delays a preview no longer than its limit, and other targets not at all', async () => {
    const { port } = await listen(net.createServer())
    const { check, connect } = await fixture({ 'silent.example': 'silent', 'hook.example': { A: ['127.0.0.1'] } })
    const stopping = AbortSignal.timeout(300)
    const silent = Array.from({ length: 30 }, (_, index) => check(`http://silent.example/${index}`, 'hostile', stopping))
    const { socket } = await connect(`http://hook.example:${port}/`, workspace, never)
    sockets.push(socket)
    for (const { warnings } of await Promise.all(silent)) expect(warnings).toEqual([expect.stringContaining('does not resolve now')])
  })
})

describe('a connection', () => {
  test('goes to the address that was checked, whatever the name would resolve to next', async () => {
    const { accepted, port } = await listen(net.createServer())
    const responses = [['127.0.0.1'], ['10.0.0.1']]
    const { connect } = outgoing({ policy: loopback, lookup: async () => responses.shift() ?? [] })
    const { socket } = await connect(`http://hook.example:${port}/`, workspace, never)
    sockets.push(socket)
    expect(socket.remoteAddress).toBe('127.0.0.1')
    expect(responses).toEqual([['10.0.0.1']])
    await expect.poll(() => accepted.length).toBe(1)
  })

  test('goes to another of the checked addresses if the first does not respond', async () => {
    const { port } = await listen(net.createServer())
    const { connect } = outgoing({ policy: loopback, lookup: resolvesTo('127.0.0.2', '::1', '127.0.0.1') })
    const { socket } = await connect(`http://hook.example:${port}/`, workspace, never)
    sockets.push(socket)
    expect(socket.remoteAddress).toBe('127.0.0.1')
  })

  test('is not opened to a rejected target, by address or by any address of its name', async () => {
    const { accepted, port } = await listen(net.createServer())
    const addresses = ['127.0.0.1', '127.1', '0x7f.1', '2130706433', '017700000001', '127。0。0。1', '[::ffff:7f00:1]']
    for (const host of [...addresses, 'localhost', 'localhost.', 'LOCALHOST', 'hook.example']) {
      const { connect } = outgoing({ policy: publicOnly, lookup: resolvesTo('127.0.0.1') })
      expect((await failure(connect(`http://${host}:${port}/`, workspace, never))).kind).toBe('refused')
    }
    const mixed = outgoing({ policy: loopback, lookup: resolvesTo('127.0.0.1', '10.0.0.1') })
    expect((await failure(mixed.connect(`http://hook.example:${port}/`, workspace, never))).kind).toBe('refused')

    // Connections are accepted in their order: when this one has come, any before it would have.
    const { socket } = await outgoing({ policy: loopback }).connect(`http://127.0.0.1:${port}/`, workspace, never)
    sockets.push(socket)
    await expect.poll(() => accepted.length).toBeGreaterThan(0)
    expect(accepted.length).toBe(1)
  })

  test('that fails says what failed, without an address', async () => {
    const { port } = await listen(net.createServer((socket) => socket.end('this is not TLS')))
    const closed = await listen(net.createServer())
    await new Promise((done) => servers.pop()!.close(done))
    const { connect } = outgoing({ policy: loopback })
    const [unknown, empty] = [notFound, resolvesTo()].map((lookup) => outgoing({ policy: loopback, lookup }))
    const expected = [
      [() => connect(`http://127.0.0.1:${closed.port}/`, workspace, never), 'the connection was refused'],
      [() => connect(`https://127.0.0.1:${port}/`, workspace, never), 'TLS: the handshake failed'],
      [() => unknown!.connect('http://hook.example/', workspace, never), 'there is no such host'],
      [() => empty!.connect('http://hook.example/', workspace, never), 'there is no such host'],
    ] as const
    for (const [attempt, message] of expected) expect(await failure(attempt())).toMatchObject({ kind: 'failed', message })
  })

  test('is given up when the signal aborts: while resolving, while connecting, and before either', async () => {
    const { accepted, port } = await listen(net.createServer())
    const { connect } = outgoing({ policy: loopback, lookup: () => new Promise(() => undefined) })
    const [resolving, shaking] = [new AbortController(), new AbortController()]

    const unresolved = failure(connect('http://hook.example/', workspace, resolving.signal))
    resolving.abort()
    expect((await unresolved).kind).toBe('stopped')

    // The listener speaks no TLS and says nothing: the handshake hangs.
    const unshaken = failure(connect(`https://127.0.0.1:${port}/`, workspace, shaking.signal))
    await expect.poll(() => accepted.length).toBe(1)
    const closed = once(accepted[0]!.resume(), 'close')
    shaking.abort()
    expect((await unshaken).kind).toBe('stopped')
    await closed

    expect((await failure(connect(`http://127.0.0.1:${port}/`, workspace, AbortSignal.abort()))).kind).toBe('stopped')
  })

  test('over TLS sends the name, though it goes to an address, and accepts only a trusted certificate of that name', async () => {
    const certificate = selfSignedCertificate('hook.example')
    const names: unknown[] = []
    const server = tls.createServer(certificate, (socket) => names.push(socket.servername)).on('tlsClientError', () => undefined)
    const { port } = await listen(server)
    const { connect } = outgoing({ policy: loopback, lookup: resolvesTo('127.0.0.1') })
    expect(await failure(connect(`https://hook.example:${port}/`, workspace, never))).toMatchObject({
      message: 'TLS: the certificate is not trusted',
    })

    const trusted = tls.getCACertificates('default')
    tls.setDefaultCACertificates([certificate.cert])
    try {
      const { socket } = await connect(`https://hook.example.:${port}/`, workspace, never)
      sockets.push(socket)
      await expect.poll(() => names).toEqual(['hook.example'])
      const other = await failure(connect(`https://other.example:${port}/`, workspace, never))
      expect(other).toMatchObject({ message: 'TLS: the certificate is for another host' })
      const address = await failure(connect(`https://127.0.0.1:${port}/`, workspace, never))
      expect(address).toMatchObject({ message: 'TLS: the certificate is for another host' })
    } finally {
      tls.setDefaultCACertificates(trusted)
    }
  })
})

describe('a connection of a recorded request', () => {
  const spans = new SpanRecorder()
  beforeEach(() => setTracer(spans.recorder))
  afterEach(() => {
    setTracer(undefined)
    spans.kept.length = 0
  })
  /** Connects as part of a recorded request, and tells what its spans say: name, by what word it failed, and how often it ended. */
  async function traced(url: string, lookup: Lookup, signal = never) {
    const { trace } = beginTrace({ name: 'request', kind: 'server' })
    const { connect } = outgoing({ policy: loopback, lookup })
    const connecting = runInScope({ work: { requestId: 'r-1' }, trace }, () => connect(url, workspace, signal))
    await connecting.then(
      ({ socket }) => sockets.push(socket),
      () => undefined,
    )
    const steps = spans.kept.slice(1)
    for (const { parent, start } of steps) expect([parent?.spanId, start.kind], start.name).toEqual([trace.spanId, 'internal'])
    return steps.map(({ start, failed, ends }) => [start.name, failed, ends])
  }

  test('shows the look-up of the name, and the way to an open socket', async () => {
    const { port } = await listen(net.createServer())
    expect(await traced(`http://hook.example:${port}/`, resolvesTo('127.0.0.1'))).toEqual([
      ['dns lookup', undefined, 1],
      ['connect', undefined, 1],
    ])
    expect(spans.named('connect').attributes).toEqual({ 'server.address': 'hook.example', 'server.port': port })
  })

  test('looks nothing up for an address', async () => {
    const { port } = await listen(net.createServer())
    expect(await traced(`http://127.0.0.1:${port}/`, notFound)).toEqual([['connect', undefined, 1]])
  })

  test('distinguishes a failed handshake from a failed connection', async () => {
    const certificate = selfSignedCertificate('hook.example')
    const { port } = await listen(tls.createServer(certificate))
    expect(await traced(`https://hook.example:${port}/`, resolvesTo('127.0.0.1'))).toEqual([
      ['dns lookup', undefined, 1],
      ['connect', undefined, 1],
      ['tls handshake', 'DEPTH_ZERO_SELF_SIGNED_CERT', 1],
    ])
    spans.kept.length = 0
    expect(await traced('http://127.0.0.1:1/', notFound)).toEqual([['connect', 'ECONNREFUSED', 1]])
  })

  test('reports that there is no such name', async () => {
    expect(await traced('http://hook.example/', notFound)).toEqual([['dns lookup', 'ENOTFOUND', 1]])
  })

  test('ends at its timeout, in any step', async () => {
    // It accepts, and never says a word of TLS.
    const { port } = await listen(net.createServer())
    expect(await traced(`https://hook.example:${port}/`, resolvesTo('127.0.0.1'), AbortSignal.timeout(200))).toEqual([
      ['dns lookup', undefined, 1],
      ['connect', undefined, 1],
      ['tls handshake', 'stopped', 1],
    ])
  })
})
