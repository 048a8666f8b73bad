import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { FollowResponse } from '#gen/relay/access/v1/access.ts'
import { meshErrors } from '#mesh/errors.ts'
import { AccessFeed } from '#mesh/identity/follow.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { identityVariables } from '#mesh/identity/variables.ts'
import { readConfig } from '#mesh/config.ts'
import type { Runtime } from '#mesh/serve.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type FakeAccess, type FakeMesh, fakeMesh, startFakeAccess } from '../../fakes/identity.ts'
import { tcpProxy } from '../../fakes/tcp-proxy.ts'
import { until } from '../../fixtures/mesh/until.ts'

const unavailable = { reason: 'DEPENDENCY_UNAVAILABLE', code: 'UNAVAILABLE' }

let mesh: FakeMesh
beforeEach(() => void (mesh = fakeMesh()))

describe('the feed', () => {
  let nowMs = 0
  let requests: number[]
  let answer: () => Promise<FollowResponse>
  let feed: AccessFeed
  const published = (over: Partial<FollowResponse> = {}): FollowResponse => ({
    signingKeys: mesh.signingKeys,
    revocations: [],
    sequence: 0,
    ...over,
  })
  const metrics = new Metrics('tested')
  beforeEach(() => {
    nowMs = 0
    requests = []
    answer = async () => published()
    metrics.registry.clear()
    feed = new AccessFeed({
      follow: ({ after }) => {
        requests.push(after)
        return answer()
      },
      log: createLogger('tested', 'silent'),
      metrics,
      now: () => nowMs,
    })
  })
  const unheardOf = () => mesh.callerToken({ by: mesh.newKey() })

  test('is read for the first token, and for an unknown key', async () => {
    expect(await feed.tokens.caller(mesh.callerToken())).toMatchObject({ actor: 'ann' })
    expect(requests).toEqual([0])
    mesh.signingKeys.push(mesh.newKey())
    nowMs += 1000
    expect(await feed.tokens.caller(mesh.callerToken())).toMatchObject({ actor: 'ann' })
    expect(requests).toEqual([0, 0])
  })

  const revoked = (keyId: string, sequence: number) => ({ keyId, sequence, notAfter: '2020-01-01T00:00:00.000Z' })
  const asked = () => feed.keyStands('key-of-ann')
  const cannotTell = expect.objectContaining(unavailable) as Error

  test('reports whether a key is active once it was read, and no longer than a minute after that', async () => {
    expect(asked).toThrow(cannotTell)
    await feed.tokens.caller(mesh.callerToken())
    expect(asked()).toBe(true)
    nowMs += 60_000
    expect(asked()).toBe(true)
    nowMs += 1
    expect(asked).toThrow(cannotTell)
  })

  test('reports no key as active before the last of many revocations was read, and reads on at once', async () => {
    const pages = [[revoked('first', 1), revoked('second', 2)], [revoked('key-of-bob', 3)], []]
    const said: unknown[] = []
    const attempt = () => {
      try {
        return feed.keyStands('key-of-bob')
      } catch {
        return 'cannot tell'
      }
    }
    answer = async () => {
      said.push(attempt())
      return published({ revocations: pages[requests.length - 1] ?? [], sequence: [2, 3][requests.length - 1] ?? 3 })
    }
    feed.start()
    await until('it has read all', () => attempt() !== 'cannot tell')
    expect(feed.keyStands('key-of-bob')).toBe(false)
    expect(asked()).toBe(true)
    expect(requests).toEqual([0, 2, 3])
    expect(said).toEqual(['cannot tell', 'cannot tell', 'cannot tell'])
    await feed.stop()
  })

  test('has completed its first read when all was read, or when access does not respond', async () => {
    const pages = [[revoked('first', 1)], [revoked('key-of-bob', 2)], []]
    answer = async () => published({ revocations: pages[requests.length - 1] ?? [], sequence: Math.min(requests.length, 2) })
    feed.start()
    await feed.firstReading
    expect(feed.keyStands('key-of-bob')).toBe(false)
    expect(asked()).toBe(true)
    await feed.stop()

    metrics.registry.clear()
    const alone = new AccessFeed({
      follow: () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE()),
      log: createLogger('tested', 'silent'),
      metrics,
    })
    alone.start()
    await alone.firstReading
    expect(() => alone.keyStands('key-of-ann')).toThrow(cannotTell)
    await alone.stop()
  })

  test('counts the minute from when the read began: a revocation during the response is not in it', async () => {
    answer = async () => {
      nowMs += 2000
      return published()
    }
    await feed.tokens.caller(mesh.callerToken())
    nowMs += 58_001
    expect(asked).toThrow(cannotTell)
  })

  test('is read at most once per second, however many unknown keys come', async () => {
    await feed.tokens.caller(mesh.callerToken())
    for (const atMs of [1000, 1001, 1500, 1999]) {
      nowMs = atMs
      const callers = await Promise.all(Array.from({ length: 20 }, async () => feed.tokens.caller(unheardOf())))
      expect(new Set(callers)).toEqual(new Set([undefined]))
    }
    expect(requests).toHaveLength(2)
    nowMs = 2000
    expect(await feed.tokens.caller(unheardOf())).toBeUndefined()
    expect(requests).toHaveLength(3)
  })

  test('cannot decide about unknown keys while access is unavailable, and continues with known ones', async () => {
    const known = mesh.callerToken()
    await feed.tokens.caller(known)
    answer = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())
    for (const atMs of [1000, 1001]) {
      nowMs = atMs
      await expect(feed.tokens.caller(unheardOf())).rejects.toMatchObject(unavailable)
    }
    expect(requests).toHaveLength(2)
    expect(feed.tokens.caller(known)).toMatchObject({ actor: 'ann' })
    // Not seen before, but signed with a key that is known: access is not needed for it.
    expect(await feed.tokens.caller(mesh.callerToken({ actor: 'bob' }))).toMatchObject({ actor: 'bob' })
  })

  test('is read from the last number on, and from the start if access counts from an earlier one', async () => {
    const rounds: [FollowResponse, number][] = [
      [published({ sequence: 7 }), 0],
      [published({ sequence: 7 }), 7],
      [published({ sequence: 2 }), 7],
      [published({ sequence: 2, revocations: [revoked('key-of-ann', 1)] }), 0],
    ]
    for (const [response, after] of rounds) {
      answer = async () => response
      nowMs += 1000
      expect(await feed.tokens.caller(unheardOf())).toBeUndefined()
      expect(requests.at(-1)).toBe(after)
    }
    expect(await feed.tokens.caller(mesh.callerToken())).toBeUndefined()
  })

  test('reads an invalid time as a past one', async () => {
    answer = async () => published({ sequence: 1, revocations: [{ sequence: 1, keyId: 'key-of-ann', notAfter: 'soon' }] })
    expect(await feed.tokens.caller(mesh.callerToken())).toBeUndefined()
    expect(await feed.tokens.caller(mesh.callerToken({ keyId: 'another' }))).toBeDefined()
  })

  test('with an invalid key is rejected, and the previous state stays', async () => {
    const known = mesh.callerToken()
    await feed.tokens.caller(known)
    answer = async () => published({ signingKeys: [{ kid: 'a', x: 'not a key' }] })
    nowMs += 1000
    await expect(feed.tokens.caller(unheardOf())).rejects.toMatchObject(unavailable)
    expect(feed.tokens.caller(known)).toBeDefined()
  })

  test('shows its age', async () => {
    const age = async () => Number(/^access_feed_age_seconds\S* (\S+)$/m.exec(await metrics.registry.metrics())![1])
    nowMs = 3000
    expect(await age()).toBe(3)
    await feed.tokens.caller(mesh.callerToken())
    expect(await age()).toBe(0)
  })
})

describe('a process that follows access', () => {
  const stops: (() => unknown)[] = []
  let access: FakeAccess
  let lines: Record<string, unknown>[]
  const follow = (address = access.address) => {
    const log = createLogger('tested', 'info', { write: (line) => void lines.push(JSON.parse(line)) })
    const onStop = (_: string, stop: () => unknown) => stops.push(stop)
    const runtime = { log, metrics: new Metrics('tested'), onStop } as unknown as Runtime
    const own = identity('idempotency', readConfig(identityVariables, mesh.env('idempotency')))
    return followAccess(runtime, own, { address })
  }
  beforeEach(async () => {
    lines = []
    access = await startFakeAccess(mesh)
  })
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop()
    await access.stop()
  })

  test('accepts the tokens of access from the first call on, and drops a revoked key within two seconds', async () => {
    const verifier = follow()
    const token = mesh.callerToken()
    expect(await verifier.caller(token)).toMatchObject({ workspace: 'acme', actor: 'ann' })
    mesh.revocations.push({ keyId: 'key-of-ann', notAfterMs: Date.now() })
    await until('the key is forgotten', () => verifier.caller(token) === undefined, 2000)
    expect(lines).toEqual([])
  })

  test('continues while access is unavailable, logs it once, and catches up afterwards', async () => {
    const verifier = follow()
    const token = mesh.callerToken()
    await verifier.caller(token)
    await access.stop()
    await until('it is missed', () => lines.length > 0)
    expect(await verifier.caller(token)).toMatchObject({ actor: 'ann' })
    await expect(verifier.caller(mesh.callerToken({ by: mesh.newKey() }))).rejects.toMatchObject(unavailable)

    mesh.revocations.push({ keyId: 'key-of-ann', notAfterMs: Date.now() })
    mesh.signingKeys.push(mesh.newKey())
    access = await startFakeAccess(mesh, { port: access.port })
    await until('it has caught up', () => verifier.caller(token) === undefined)
    expect(await verifier.caller(mesh.callerToken({ keyId: 'another' }))).toMatchObject({ actor: 'ann' })
    await until('it says so', () => lines.length > 1)
    expect(lines).toMatchObject([
      { level: 'warn', loop: 'access feed' },
      { level: 'info', loop: 'access feed' },
    ])
  })

  test('stops at once, even while access is silent', async () => {
    const proxy = await tcpProxy({ host: '127.0.0.1', port: access.port })
    proxy.silence()
    follow(`127.0.0.1:${proxy.port}`)
    const before = performance.now()
    for (const stop of stops.splice(0).reverse()) await stop()
    expect(performance.now() - before).toBeLessThan(1000)
    expect(lines).toEqual([])
    await proxy.close()
  })
})
