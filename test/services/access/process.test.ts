import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { AccessServiceService, type FollowResponse } from '#gen/relay/access/v1/access.ts'
import { KeysServiceService } from '#gen/relay/access/v1/keys.ts'
import { newApiKey } from '#mesh/api-key.ts'
import { Secret } from '#mesh/config.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { CallerTokens } from '#mesh/identity/caller-tokens.ts'
import { Database } from '#mesh/postgres/database.ts'
import { fakeMesh } from '../../fakes/identity.ts'
import { type TcpProxy, tcpProxy, through } from '../../fakes/tcp-proxy.ts'
import { type RunningProcess, startProcess } from '../../fixtures/mesh/process.ts'
import { failureOf } from '../../fixtures/mesh/server.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { type OwnedDatabase, ownedDatabase } from './owned-database.ts'

const main = new URL('../../../services/access/main.ts', import.meta.url).pathname
const operators = new URL('../../../services/access/relay-access.cli.ts', import.meta.url).pathname

describe('the access process', () => {
  const mesh = fakeMesh()
  const secretOf = () => randomBytes(24).toString('base64url')
  const secrets = { ACCESS_KEY_PEPPER: secretOf(), ACCESS_SIGNING_SECRET: secretOf(), AUDIT_HMAC_KEY: secretOf() }
  const root = secretOf()
  let owned: OwnedDatabase<'service'>
  let proxy: TcpProxy
  let owner: Database
  beforeAll(async () => {
    owned = await ownedDatabase('service')
    const target = new URL(owned.urls.service)
    proxy = await tcpProxy({ host: target.hostname, port: Number(target.port) })
    owner = new Database({ url: new Secret(owned.urls.owner), log: pino({ level: 'silent' }) })
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
    await owner.close()
    await proxy.close()
    await owned.drop()
  })

  const env = (more: Record<string, string> = {}) => ({
    ...mesh.env('access'),
    ...secrets,
    RELAY_ENV: 'test',
    SIGNATURE_ROOT_SECRET: root,
    // Tests ask again and again until something is so.
    EXCHANGE_LIMIT: '100000',
    DATABASE_URL: through(proxy, owned.urls.service),
    MIGRATION_DATABASE_URL: owned.urls.owner,
    ...more,
  })
  const start = async (more?: Record<string, string>) => {
    const started = startProcess(main, env(more))
    running.push(started)
    const { grpc, admin } = await started.listening()
    const channelAs = (peerToken?: ReturnType<typeof mesh.peerToken>) => {
      const channel = new Channel({ address: grpc, peerToken })
      channels.push(channel)
      return channel
    }
    const outside = channelAs()
    return {
      ...started,
      admin,
      exchange: (apiKey: string) => methodsOf(AccessServiceService, outside).exchange({ apiKey }, ownContext()),
      keys: methodsOf(KeysServiceService, outside),
      follow: (after = 0) =>
        methodsOf(AccessServiceService, channelAs(mesh.peerToken('actions'))).follow({ after, signaturesAfter: 0 }, ownContext()),
      async stop() {
        started.child.kill('SIGTERM')
        expect(await started.ended).toBe(0)
      },
    }
  }
  const operate = async (args: readonly string[], more: Record<string, string> = {}) => {
    const { ended, text } = startProcess(operators, { ...env(), DATABASE_URL: owned.urls.service, ...more }, args)
    expect({ code: await ended, stderr: text.stderr }).toEqual({ code: 0, stderr: '' })
    return text.stdout.trim()
  }
  const adminKey = () => operate(['create-key', '--workspace', 'acme', '--role', 'admin', '--actor', 'ada', '--name', 'the first'])
  const as = (callerToken: string) => ({ ...ownContext(), callerToken })
  /** As a service that has just heard of it. */
  const believes = async ({ signingKeys, revocations }: FollowResponse, token: string) => {
    const tokens = new CallerTokens()
    tokens.update({ signingKeys, revocations: revocations.map(({ keyId, notAfter }) => ({ keyId, notAfterMs: Date.parse(notAfter) })) })
    return (await tokens.caller(token)) !== undefined
  }
  const sql = <Row extends object>(text: string, values: unknown[] = []) =>
    owner.query<Row & Record<string, unknown>>({ name: '', text }, values)
  const age = (byMs: number) =>
    sql(
      `UPDATE signing_keys SET published_at = published_at - $1::float8 * interval '1 millisecond',
         signs_from = signs_from - $1::float8 * interval '1 millisecond'`,
      [byMs],
    )
  const kidOf = (token: string) => (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid
  const request = { name: 'a key', role: 'operator', scopes: [], previewOnly: false, allowedSources: [] }

  test('exchanges a key for a token that others believe by its feed, and it itself; a revoked key is in it within a second', async () => {
    const access = await start()
    const { token, workspace } = await access.exchange(await adminKey())
    expect(workspace).toBe('acme')
    expect(await believes(await access.follow(), token)).toBe(true)

    const created = await access.keys.createKey(request, as(token))
    const child = await access.exchange(created.apiKey)
    expect(await believes(await access.follow(), child.token)).toBe(true)
    const { sequence } = await access.follow()
    await access.keys.revokeKey({ keyId: created.key!.keyId, keepChildren: false }, as(token))
    const revoked = performance.now()
    await until('the revocation is in the feed', async () => (await access.follow(sequence)).revocations.length === 1, 1000)
    expect(performance.now() - revoked).toBeLessThan(1000)
    const news = await access.follow()
    expect(news.revocations).toEqual([expect.objectContaining({ keyId: created.key!.keyId })])
    expect(await believes(news, child.token)).toBe(false)
    expect(await believes(news, token)).toBe(true)
    expect(await failureOf(access.exchange(created.apiKey))).toMatchObject({ code: 'UNAUTHENTICATED' })
    await until('access itself believes it no longer', async () => {
      const error = await failureOf(access.keys.listKeys({ pageSize: 0, pageToken: '' }, as(child.token)))
      return error.code === 'UNAUTHENTICATED'
    })
    await access.stop()
  })

  test('a rotated signing key is published at once and signs ten seconds later; tokens of the old one hold until it goes', async () => {
    const access = await start()
    const apiKey = await adminKey()
    const before = await access.exchange(apiKey)
    const old = kidOf(before.token)
    const [fresh] = (await operate(['rotate-signing-key'])).split(' ')
    const kids = async () => (await access.follow()).signingKeys.map(({ kid }) => kid)
    await until('it is published', async () => (await kids()).includes(fresh!))
    expect(kidOf((await access.exchange(apiKey)).token)).toBe(old)
    await age(10_000)
    await until('it signs', async () => kidOf((await access.exchange(apiKey)).token) === fresh)
    expect(await believes(await access.follow(), before.token)).toBe(true)
    await access.keys.listKeys({ pageSize: 0, pageToken: '' }, as(before.token))
    await age(6 * 60_000)
    await until('the old one is gone', async () => !(await kids()).includes(old))
    expect(await believes(await access.follow(), before.token)).toBe(false)
    await until('access itself believes it no longer', async () => {
      const listed = access.keys.listKeys({ pageSize: 0, pageToken: '' }, as(before.token))
      return (await Promise.allSettled([listed]))[0].status === 'rejected'
    })
    await access.stop()
  })

  test('killed and started again it knows everything: keys, what was revoked, and what it signs with', async () => {
    const first = await start()
    const apiKey = await adminKey()
    const { token } = await first.exchange(apiKey)
    const created = await first.keys.createKey(request, as(token))
    const doomed = await first.exchange(created.apiKey)
    await first.keys.revokeKey({ keyId: created.key!.keyId, keepChildren: false }, as(token))
    const known = await first.follow()
    first.child.kill('SIGKILL')
    expect(await first.ended).toBe('SIGKILL')
    // What it was just about to tell is left to others after a while, which is over.
    await sql(`UPDATE audit_outbox SET due_at = due_at - interval '1 minute'`)

    const second = await start()
    expect(await second.follow()).toEqual(known)
    expect(await believes(known, doomed.token)).toBe(false)
    const listed = await second.keys.listKeys({ pageSize: 0, pageToken: '' }, as(token))
    expect(listed.keys.find(({ keyId }) => keyId === created.key!.keyId)?.status).toBe('revoked')
    await expect(second.exchange(apiKey)).resolves.toMatchObject({ workspace: 'acme' })
    await until('what was done before the kill is in the audit log', async () => {
      const events = await sql(`SELECT action FROM audit_events WHERE $1 = ANY (targets)`, [`key:${created.key!.keyId}`])
      return events.length === 2
    })
    await second.stop()
  })

  test('two replicas that start together sign with keys that both publish', async () => {
    const replicas = await Promise.all([start(), start()])
    const apiKey = await adminKey()
    for (const one of replicas) {
      const { token } = await one.exchange(apiKey)
      for (const other of replicas) expect(await believes(await other.follow(), token)).toBe(true)
    }
    for (const each of replicas) await each.stop()
  })

  test('with another ACCESS_SIGNING_SECRET it does not start, says why and what to do, and changes nothing', async () => {
    await (await start()).stop()
    await age(25 * 3_600_000)
    const keys = await sql('SELECT * FROM signing_keys')
    const wrong = startProcess(main, env({ ACCESS_SIGNING_SECRET: secretOf() }))
    running.push(wrong)
    expect(await wrong.ended).toBe(78)
    expect(wrong.text.stderr).toMatch(/^access: ACCESS_SIGNING_SECRET does not decrypt the signing key in the database/)
    expect(wrong.text.stderr).toContain('relay-access rotate-signing-key')
    expect(await sql('SELECT * FROM signing_keys')).toEqual(keys)
  })

  test('the way out of a lost ACCESS_SIGNING_SECRET: a new key made with the new one, and ten seconds', async () => {
    await (await start()).stop()
    const lost = { ACCESS_SIGNING_SECRET: secretOf() }
    const [kid] = (await operate(['rotate-signing-key'], lost)).split(' ')
    await age(10_000)
    const access = await start(lost)
    const { token } = await access.exchange(await adminKey())
    expect(kidOf(token)).toBe(kid)
    await access.stop()
    await sql('DELETE FROM signing_keys')
  })

  test.each([
    ['silent', () => proxy.silence()],
    ['cut off again and again', () => void repeatedly(() => proxy.cut())],
  ])('while Postgres is %s, exchanges and the feed are UNAVAILABLE; who is known is still believed; then it is back', async (_, goAway) => {
    const access = await start()
    const apiKey = await adminKey()
    const { token } = await access.exchange(apiKey)
    const ready = async () => (await fetch(`http://${access.admin}/readyz`)).status
    expect(await ready()).toBe(200)
    goAway()
    await until('it is not ready', async () => (await ready()) === 503, 10_000)
    const failures = await Promise.all([
      failureOf(access.exchange(apiKey)),
      failureOf(access.follow()),
      // Not UNAUTHENTICATED: who is calling is known without the database.
      failureOf(access.keys.listKeys({ pageSize: 0, pageToken: '' }, as(token))),
    ])
    for (const { code } of failures) expect(['UNAVAILABLE', 'DEADLINE_EXCEEDED']).toContain(code)
    // A malformed key is one without any database.
    expect(await failureOf(access.exchange('nonsense'))).toMatchObject({ code: 'UNAUTHENTICATED' })
    stopRepeating()
    proxy.restore()
    await until(
      'it exchanges again',
      () =>
        access.exchange(apiKey).then(
          () => true,
          () => false,
        ),
      10_000,
    )
    await until('it is ready', async () => (await ready()) === 200, 10_000)
    await access.stop()
  })

  let repeating = new AbortController()
  const stopRepeating = () => repeating.abort()
  const repeatedly = async (what: () => void) => {
    repeating = new AbortController()
    while (!repeating.signal.aborted) {
      what()
      await pause(5)
    }
  }

  test('a refused exchange is in the audit log, counted, and neither there nor in any line is a key', async () => {
    const access = await start()
    const unknown = newApiKey('test')
    const granted = await adminKey()
    const { token } = await access.exchange(granted)
    for (let time = 0; time < 3; time += 1) await failureOf(access.exchange(unknown))
    await access.stop()
    const rows = await sql<{ reason: string; count: number }>(
      `SELECT reason, sum(count)::int AS count FROM audit_events
       WHERE action = 'sign_in.refused' AND reason = 'KEY_UNKNOWN' GROUP BY reason`,
    )
    expect(rows).toEqual([{ reason: 'KEY_UNKNOWN', count: 3 }])
    const written = access.text.stdout + access.text.stderr + JSON.stringify(await sql('SELECT * FROM audit_events'))
    const secret = [unknown, granted, token, ...Object.values(secrets), new URL(owned.urls.service).password]
    for (const each of secret) expect(written.includes(each)).toBe(false)
  })

  test(
    'does not start without its secrets, with one secret for two purposes, or in production with weak ones',
    { timeout: 60_000 },
    async () => {
      const refused = async (more: Record<string, string>) => {
        const process = startProcess(main, env(more))
        running.push(process)
        expect(await process.ended).toBe(78)
        return process.text.stderr
      }
      const production = { RELAY_ENV: 'production' }
      const starts: [Record<string, string>, string[]][] = [
        [
          { ACCESS_KEY_PEPPER: '', ACCESS_SIGNING_SECRET: '', AUDIT_HMAC_KEY: '' },
          Object.keys(secrets).map((name) => `${name} is not set`),
        ],
        [{ AUDIT_HMAC_KEY: secrets.ACCESS_KEY_PEPPER }, ['is AUDIT_HMAC_KEY']],
        ...Object.keys(secrets).map((name): [Record<string, string>, string[]] => [
          { ...production, [name]: 'short' },
          [`${name} is shorter than`],
        ]),
        [{ SIGNATURE_ROOT_SECRET: secrets.ACCESS_KEY_PEPPER }, ['is SIGNATURE_ROOT_SECRET']],
        [{ ...production, SIGNATURE_ROOT_SECRET: '' }, ['SIGNATURE_ROOT_SECRET is not set']],
        [{ ...production, MIGRATION_DATABASE_URL: '' }, ['MIGRATION_DATABASE_URL is not set']],
        [{ TOKEN_TTL: '6m' }, ['TOKEN_TTL is 6m']],
      ]
      const said = await Promise.all(starts.map(([more]) => refused(more)))
      for (const [index, [, sentences]] of starts.entries()) for (const sentence of sentences) expect(said[index]).toContain(sentence)
    },
  )
})
