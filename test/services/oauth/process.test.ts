import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { OAuthServiceService } from '#gen/relay/oauth/v1/oauth.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { cacheKey } from '../../../services/oauth/connections/token-cache.ts'
import { type FakeAccess, fakeMesh, startFakeAccess } from '../../fakes/identity.ts'
import { type TcpProxy, tcpProxy, through } from '../../fakes/tcp-proxy.ts'
import { type RunningProcess, startProcess } from '../../fixtures/mesh/process.ts'
import { failureOf } from '../../fixtures/mesh/server.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'
import { sharedRedis } from '../../setup/redis.ts'
import { FakeProvider, type CreatedConnection, type Replica, gate, made, openReplica, sha256, tokenOf, vaultKey } from './tokens/replica.ts'

const main = new URL('../../../services/oauth/main.ts', import.meta.url).pathname
const migrations = new URL('../../../services/oauth/migrations/', import.meta.url)

describe('the oauth process', () => {
  const mesh = fakeMesh()
  const clientSecret = tokenOf('client')
  let [access, fresh, proxy, server]: [FakeAccess, FreshDatabase, TcpProxy, Server] = [] as never
  let [seeds, redis, redisUrl, folder]: [Replica, Redis, string, string] = [] as never
  /** What tokens are asked for at the provider; how it answers, until a test says otherwise. */
  let requests: string[]
  let answer: () => Promise<{ status: number; body: object }>
  const grant = () => ({ status: 200, body: { access_token: given(tokenOf('access')), token_type: 'Bearer', expires_in: 3600 } })
  const secrets: string[] = [clientSecret, vaultKey]
  const given = (secret: string) => {
    secrets.push(secret)
    return secret
  }

  beforeAll(async () => {
    access = await startFakeAccess(mesh)
    fresh = await freshDatabase(migrations)
    const target = new URL(fresh.url)
    proxy = await tcpProxy({ host: target.hostname, port: Number(target.port) })
    seeds = openReplica(fresh.url, new FakeProvider())
    redisUrl = (await sharedRedis()).url
    redis = new Redis(redisUrl)
    server = createServer((request, response) => {
      void (async () => {
        let body = ''
        for await (const chunk of request.setEncoding('utf8')) body += chunk
        requests.push(new URLSearchParams(body).get('refresh_token') ?? '')
        const { status, body: answered } = await answer()
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answered))
      })()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = (path: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`
    folder = await mkdtemp(join(tmpdir(), 'relay-oauth-'))
    await writeFile(
      join(folder, 'providers.yaml'),
      JSON.stringify({
        providers: [
          {
            name: 'example',
            issuer: url(''),
            endpoints: { authorization: url('/authorize'), token: url('/token') },
            client_id_env: 'EXAMPLE_CLIENT_ID',
            client_secret_env: 'EXAMPLE_CLIENT_SECRET',
            scopes: ['mail'],
            allow_http: true,
          },
        ],
      }),
    )
  })
  beforeEach(() => {
    requests = []
    answer = async () => grant()
  })
  const running: RunningProcess[] = []
  const channels: Channel[] = []
  afterEach(async () => {
    for (const channel of channels.splice(0)) channel.close()
    for (const { child, ended } of running.splice(0)) {
      child.kill('SIGKILL')
      await ended
    }
  })
  afterAll(async () => {
    server.close()
    server.closeAllConnections()
    redis.disconnect()
    await seeds.close()
    await proxy.close()
    await fresh.drop()
    await access.stop()
    await rm(folder, { recursive: true })
  })

  const env = (more: Record<string, string> = {}) => ({
    ...mesh.env('oauth'),
    RELAY_ENV: 'test',
    ACCESS_ADDR: access.address,
    DATABASE_URL: through(proxy, fresh.url),
    REDIS_URL: redisUrl,
    OAUTH_ENCRYPTION_KEY: vaultKey,
    OAUTH_PROVIDERS_FILE: join(folder, 'providers.yaml'),
    OAUTH_PROVIDER_TIMEOUT: '1s',
    PUBLIC_URL: 'http://localhost:8000',
    EXAMPLE_CLIENT_ID: 'client',
    EXAMPLE_CLIENT_SECRET: clientSecret,
    ...more,
  })
  const start = async (more?: Record<string, string>) => {
    const started = startProcess(main, env(more))
    running.push(started)
    const { grpc, admin } = await started.listening()
    const channel = new Channel({ address: grpc, peerToken: mesh.peerToken('actions') })
    channels.push(channel)
    const oauth = methodsOf(OAuthServiceService, channel)
    const owned = ({ workspace, actor, provider, connectionId }: CreatedConnection) => ({
      owner: { workspace, actor, provider },
      connectionId,
    })
    return {
      ...started,
      /** A plain call: it says how fast this machine is. */
      plain: () => channel.serving(2000),
      token: (connection: CreatedConnection, refusedTokenSha256?: string) =>
        oauth.getToken({ ...owned(connection), refusedTokenSha256 }, ownContext()),
      connection: (connection: CreatedConnection) => oauth.getConnection({ owner: owned(connection).owner }, ownContext()),
      disconnect: ({ workspace, actor, connectionId }: CreatedConnection) =>
        oauth.disconnect({ connectionId }, { ...ownContext(), callerToken: mesh.callerToken({ workspace, actor }) }),
      ready: async () => (await fetch(`http://${admin}/readyz`)).status,
      metrics: async () => (await fetch(`http://${admin}/metrics`)).text(),
      async stop() {
        started.child.kill('SIGTERM')
        expect(await started.ended).toBe(0)
      },
    }
  }
  const connected = async (more?: Parameters<typeof made>[1]) => {
    const connection = await made(seeds, { ...more, provider: 'example' })
    secrets.push(connection.accessToken, connection.refreshToken)
    return connection
  }
  const cached = (connection: CreatedConnection) => redis.hget(cacheKey(connection), 't')

  test('two replicas, 100 who ask: one call to the provider; the holder killed midway: one more, and nobody hears of it', async () => {
    const [one, two] = [await start(), await start()]
    const first = await connected()
    const tokens = await Promise.all(Array.from({ length: 100 }, (_, index) => (index % 2 === 0 ? one : two).token(first)))
    expect(requests).toEqual([first.refreshToken])
    expect(new Set(tokens.map(({ accessToken }) => accessToken)).size).toBe(1)

    const second = await connected()
    const stuck = gate()
    answer = async () => {
      await stuck.opened
      return grant()
    }
    const lost = failureOf(one.token(second))
    await until('the provider was asked', () => requests.length === 2)
    answer = async () => grant()
    const waiting = Array.from({ length: 100 }, () => two.token(second))
    one.child.kill('SIGKILL')
    await lost
    const served = await Promise.all(waiting)
    expect(requests).toEqual([first.refreshToken, second.refreshToken, second.refreshToken])
    expect(new Set(served.map(({ accessToken }) => accessToken)).size).toBe(1)
    stuck.open()
    await two.stop()
  })

  test.each([
    ['silent', () => proxy.silence()],
    ['cut off again and again', () => repeatedly(() => proxy.cut())],
  ])('while Postgres is %s, tokens come out of Redis, where none is in the clear; what is not there is UNAVAILABLE', async (_, goAway) => {
    const oauth = await start()
    const [known, unknown, refused] = [
      await connected({ leftMs: 3_600_000 }),
      await connected({ leftMs: 3_600_000 }),
      await connected({ leftMs: 3_600_000 }),
    ]
    for (const each of [known, refused]) expect((await oauth.token(each)).accessToken).toBe(each.accessToken)
    await until('both are cached', async () => (await cached(known)) !== null && (await cached(refused)) !== null)
    expect(await redis.pttl(cacheKey(known))).toBeLessThanOrEqual(3_600_000)
    expect(await cached(known)).not.toContain(known.accessToken)
    goAway()
    await until('it is not ready', async () => (await oauth.ready()) === 503, 10_000)
    expect((await oauth.token(known)).accessToken).toBe(known.accessToken)
    const failures = await Promise.all([
      failureOf(oauth.token(unknown)),
      failureOf(oauth.token({ ...known, connectionId: unknown.connectionId })),
      failureOf(oauth.token(refused, sha256(refused.accessToken))),
    ])
    for (const failure of failures) expect(failure).toMatchObject({ code: 'UNAVAILABLE' })
    expect(await failureOf(oauth.token(refused))).toMatchObject({ code: 'UNAVAILABLE' })
    stopRepeating()
    proxy.restore()
    const back = (what: Promise<unknown>) =>
      what.then(
        () => true,
        () => false,
      )
    await until('it hands them out again', () => back(oauth.token(unknown)), 10_000)
    await until('it is ready', async () => (await oauth.ready()) === 200, 10_000)
    expect((await oauth.token(refused)).accessToken).not.toBe(refused.accessToken)
    expect((await oauth.connection(known)).connection).toMatchObject({ connectionId: known.connectionId, status: 'connected' })
    await oauth.stop()
  })

  let repeating: NodeJS.Timeout | undefined
  const stopRepeating = () => clearInterval(repeating)
  const repeatedly = (what: () => void) => void (repeating = setInterval(what, 5))

  test('a disconnect ends it for everybody, with a refresh under way and a token in Redis', async () => {
    const [one, two] = [await start(), await start()]
    const [refreshing, kept] = [await connected(), await connected({ leftMs: 3_600_000 })]
    await two.token(kept)
    await until('it is cached', async () => (await cached(kept)) !== null)
    const stuck = gate()
    answer = async () => {
      await stuck.opened
      return grant()
    }
    const waiting = failureOf(one.token(refreshing))
    await until('the provider was asked', () => requests.length === 1)
    for (const each of [refreshing, kept]) await two.disconnect(each)
    stuck.open()
    expect(await waiting).toMatchObject({ reason: 'NOT_CONNECTED', metadata: { authorize_path: '/oauth/example/authorize' } })
    for (const each of [one, two]) {
      for (const gone of [refreshing, kept]) expect(await failureOf(each.token(gone))).toMatchObject({ reason: 'NOT_CONNECTED' })
    }
    await until('it is cached no more', async () => (await cached(kept)) === null)
    expect(await failureOf(one.disconnect(kept))).toMatchObject({ reason: 'CONNECTION_NOT_FOUND' })
    for (const each of [one, two]) await each.stop()
  })

  test('a token that was refused is replaced in Redis by the next one', async () => {
    const oauth = await start()
    const connection = await connected({ leftMs: 3_600_000 })
    await oauth.token(connection)
    await until('it is cached', async () => (await cached(connection)) !== null)
    const { accessToken } = await oauth.token(connection, sha256(connection.accessToken))
    expect(accessToken).not.toBe(connection.accessToken)
    const epoch = () => redis.hget(cacheKey(connection), 'e')
    await until('the next one is', async () => (await cached(connection)) !== null && Number(await epoch()) > connection.epoch)
    await oauth.stop()
  })

  test('a token is read within 2 ms, or within four plain calls on a slower machine, half of the time', async () => {
    const oauth = await start()
    const connection = await connected({ leftMs: 3_600_000 })
    const medianMs = async (call: () => Promise<unknown>) => {
      const tookMs: number[] = []
      for (let calls = 0; calls < 100; calls += 1) {
        const began = performance.now()
        await call()
        tookMs.push(performance.now() - began)
      }
      return tookMs.toSorted((a, b) => a - b)[50]!
    }
    let [best, plain] = [Infinity, Infinity]
    // Other work on the machine makes it longer, never shorter.
    for (let rounds = 0; best > 2 && rounds < 30; rounds += 1) {
      plain = Math.min(plain, await medianMs(oauth.plain))
      best = Math.min(best, await medianMs(() => oauth.token(connection)))
    }
    expect(best).toBeLessThanOrEqual(Math.max(2, 4 * plain))
    await oauth.stop()
  })

  test('without Redis it does the same while Postgres answers', async () => {
    const oauth = await start({ REDIS_URL: '' })
    expect((await oauth.token(await connected())).accessToken).toBe(secrets.at(-1))
    expect(await oauth.ready()).toBe(200)
    await oauth.stop()
  })

  test('no token, key or secret is in a log line, a metric, an error, the database or Redis', async () => {
    const oauth = await start({ LOG_LEVEL: 'trace' })
    const errors: unknown[] = []
    const responses = [
      { status: 400, body: { error: 'invalid_grant', error_description: given(tokenOf('described')) } },
      { status: 401, body: { error: 'invalid_client', error_description: given(tokenOf('described')) } },
      { status: 400, body: { error: given(tokenOf('code')) } },
      { status: 500, body: { access_token: given(tokenOf('broken')) } },
      { status: 200, body: { access_token: given(tokenOf('typed')), token_type: given(tokenOf('type')) } },
      { status: 200, body: { access_token: 7, refresh_token: given(tokenOf('seven')) } },
      { status: 302, body: { access_token: given(tokenOf('redirected')) } },
    ]
    for (const each of responses) {
      answer = async () => each
      errors.push(await failureOf(oauth.token(await connected())))
    }
    answer = async () => grant()
    await oauth.token(await connected())
    const metrics = await oauth.metrics()
    await oauth.stop()
    const rows = async (table: string) => JSON.stringify((await seeds.database.pool.query(`SELECT * FROM ${table}`)).rows)
    const tables = [await rows('connections'), await rows('audit_outbox'), await rows('connect_steps')]
    const keys = await redis.keys('oauth:*')
    const kept = await Promise.all(keys.map(async (key) => key + JSON.stringify(await redis.hgetall(key))))
    const said = errors.map((error) => JSON.stringify(error) + String(error))
    const written = [oauth.text.stdout, oauth.text.stderr, metrics, ...tables, ...kept, ...said].join('\n')
    for (const secret of secrets) expect(written.includes(secret)).toBe(false)
    for (const expected of ['GRANT_ENDED', 'oauth_client_rejected{', 'connection.reauth_required', 'oauth:token:example:acme:']) {
      expect(written).toContain(expected)
    }
  })

  test('does not start with what it could not keep or would speak to in the clear, and says which variable it is', async () => {
    const refused = async (more: Record<string, string>) => {
      const process = startProcess(main, env(more))
      running.push(process)
      expect(await process.ended).toBe(78)
      return process.text.stderr
    }
    expect(await refused({ OAUTH_ENCRYPTION_KEY: '' })).toContain('OAUTH_ENCRYPTION_KEY is not set')
    expect(await refused({ PUBLIC_URL: 'http://relay.example.com' })).toContain('PUBLIC_URL is not https')
    expect(await refused({ PUBLIC_URL: 'https://relay.example.com/v1' })).toContain('PUBLIC_URL has a path')
    expect(await refused({ OAUTH_RETURN_ORIGINS: 'https://studio.example.com/' })).toContain('OAUTH_RETURN_ORIGINS has')
    expect(await refused({ RELAY_SANDBOX: 'http://192.0.2.1:4000' })).toContain('RELAY_SANDBOX is not on loopback')
    const production = { RELAY_ENV: 'production', PUBLIC_URL: 'https://relay.example.com' }
    expect(await refused({ ...production, PUBLIC_URL: 'http://localhost:8000' })).toContain('PUBLIC_URL is not https')
    expect(await refused({ ...production, RELAY_SANDBOX: 'http://127.0.0.1:4000' })).toContain('RELAY_SANDBOX is set')
  })

  test('a provider without its variables is named with them', async () => {
    const oauth = await start({ EXAMPLE_CLIENT_SECRET: '' })
    const connection = await connected({ leftMs: 3_600_000 })
    const metadata = { missing: 'EXAMPLE_CLIENT_SECRET' }
    expect(await failureOf(oauth.token(connection))).toMatchObject({ code: 'UNIMPLEMENTED', metadata })
    expect(await oauth.connection(connection)).toMatchObject({ configured: false, missing: ['EXAMPLE_CLIENT_SECRET'] })
    await oauth.stop()
  })
})
