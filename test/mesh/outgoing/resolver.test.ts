import { randomUUID } from 'node:crypto'
import dns from 'node:dns/promises'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { FairSlots } from '#mesh/fair-slots.ts'
import { NameResolver, type ResolverOptions, lookupLimits } from '#mesh/outgoing/resolver.ts'
import { type DnsServer, type Zone, startDnsServer } from '../../fakes/dns-server.ts'

const open: DnsServer[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})

async function openHarness(
  zone: Zone,
  { hosts = '', config = '', ...options }: Partial<ResolverOptions> & { hosts?: string; config?: string } = {},
) {
  const server = await startDnsServer(zone)
  open.push(server)
  const folder = await mkdtemp(join(tmpdir(), 'relay-resolver-'))
  const [hostsFile, configFile] = [join(folder, 'hosts'), join(folder, 'resolv.conf')]
  await writeFile(hostsFile, hosts)
  await writeFile(configFile, config)
  const resolver = new NameResolver({ servers: [server.address], hostsFile, configFile, ...options })
  const lookup = (name: string, tenant = 'a', signal = new AbortController().signal) => resolver.lookup(name, { tenant, signal })
  const code = (asking: Promise<unknown>) =>
    asking.then(
      () => 'found',
      (error: { code?: string }) => error.code,
    )
  return { server, lookup, code }
}

describe('a name', () => {
  test('resolves to all of its addresses, of both families', async () => {
    const { lookup } = await openHarness({ 'hook.example': { A: ['192.0.2.1', '192.0.2.2'], AAAA: ['2001:db8::1'] } })
    expect((await lookup('Hook.Example')).toSorted()).toEqual(['192.0.2.1', '192.0.2.2', '2001:db8::1'])
  })

  test('that does not exist, or has no address, differs from one with a temporary failure', async () => {
    const { lookup, code } = await openHarness(
      { 'empty.example': {}, 'broken.example': 'SERVFAIL', 'half.example': { silent: ['A'] }, 'silent.example': 'silent' },
      { timeoutMs: 300 },
    )
    expect(await code(lookup('gone.example'))).toBe('ENOTFOUND')
    expect(await code(lookup('empty.example'))).toBe('ENOTFOUND')
    expect(await code(lookup('a..b'))).toBe('ENOTFOUND')
    for (const name of ['broken', 'half', 'silent']) expect(await code(lookup(`${name}.example`))).toBe('EAI_AGAIN')
  })

  test('does not wait long for one family once the other has responded', async () => {
    const { lookup } = await openHarness({ 'hook.example': { A: ['192.0.2.1'], silent: ['AAAA'] } }, { timeoutMs: 60_000 })
    expect(await lookup('hook.example')).toEqual(['192.0.2.1'])
  })

  test('is looked up on this machine first, as in hosts(5), and localhost nowhere else', async () => {
    const hosts = '# a comment\n192.0.2.7 Hook.example  alias # more\n2001:db8::7\thook.example\nnonsense here\n127.0.0.5 localhost\n'
    const { lookup, server } = await openHarness({ 'hook.example': { A: ['192.0.2.1'] } }, { hosts })
    expect(await lookup('hook.EXAMPLE')).toEqual(['192.0.2.7', '2001:db8::7'])
    expect(await lookup('alias')).toEqual(['192.0.2.7'])
    expect(await lookup('localhost.')).toEqual(['127.0.0.5'])
    expect(await lookup('api.localhost')).toEqual(['127.0.0.1', '::1'])
    expect(await lookup('192.0.2.9')).toEqual(['192.0.2.9'])
    expect(server.questions).toEqual([])
    const bare = await openHarness({})
    expect(await bare.lookup('localhost')).toEqual(['127.0.0.1', '::1'])
  })

  test('that is short is completed as in resolv.conf(5)', async () => {
    const config = 'nameserver 192.0.2.53\nsearch a.internal b.internal\noptions timeout:1 ndots:2\n'
    const zone = {
      'hook.b.internal': { A: ['192.0.2.1'] },
      'hook.example': { A: ['192.0.2.2'] },
      'whole.example.org': { A: ['192.0.2.3'] },
    }
    const { lookup, code, server } = await openHarness(zone, { config })
    expect(await lookup('hook')).toEqual(['192.0.2.1'])
    expect(server.questions.map(({ name }) => name)).toEqual(['hook.a.internal', 'hook.a.internal', 'hook.b.internal', 'hook.b.internal'])
    expect(await lookup('hook.example')).toEqual(['192.0.2.2'])
    expect(await lookup('whole.example.org')).toEqual(['192.0.2.3'])
    expect(server.asked('whole.example.org.a.internal')).toBe(0)
    expect(await code(lookup('hook.'))).toBe('ENOTFOUND')
  })
})

describe('a result', () => {
  test('is cached for its lifetime and at most ten seconds, and a failure only briefly', async () => {
    const zone = {
      'kept.example': { A: ['192.0.2.1'] },
      'never.example': { A: ['192.0.2.2'], ttl: 0 },
      'broken.example': 'SERVFAIL' as const,
    }
    const { lookup, code, server } = await openHarness(zone)
    for (let times = 0; times < 3; times++) {
      await lookup('kept.example')
      await lookup('never.example')
      await code(lookup('broken.example'))
      await code(lookup('gone.example'))
    }
    const asked = (name: string) => server.questions.filter((each) => each.name === name && each.type === 'A').length
    expect(asked('kept.example')).toBe(1)
    expect(asked('never.example')).toBe(3)
    expect(asked('gone.example')).toBe(1)
    expect(server.asked('broken.example')).toBeGreaterThan(0)
    const before = server.asked('broken.example')
    await expect
      .poll(async () => (await code(lookup('broken.example')), server.asked('broken.example')), { timeout: 5000 })
      .toBeGreaterThan(before)
  })

  test('of one tenant is not another’s, and at most a fixed number of names is cached', async () => {
    let version = 0
    const zone = {
      'lying.example': () => ({ A: [`192.0.2.${(version += 1)}`] }),
      'b.example': { A: ['192.0.2.100'] },
      'c.example': { A: ['192.0.2.101'] },
    }
    const { lookup, server } = await openHarness(zone, { maxCached: 2 })
    const [first] = await lookup('lying.example', 'a')
    expect(await lookup('lying.example', 'b')).not.toEqual([first])
    const asked = server.asked('lying.example')
    for (const name of ['b.example', 'c.example']) await lookup(name, 'a')
    await lookup('lying.example', 'a')
    expect(server.asked('lying.example')).toBeGreaterThan(asked)
  })

  test('is requested once for concurrent callers', async () => {
    const { lookup, server } = await openHarness({ 'hook.example': { A: ['192.0.2.1'] } })
    await Promise.all(Array.from({ length: 50 }, () => lookup('hook.example')))
    expect(server.questions).toHaveLength(2)
  })
})

describe('names that a tenant made slow', () => {
  const slow = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`slow-${index}.example`, 'silent' as const]))

  test('delay no one else, neither for names nor for files', async () => {
    const { lookup, code, server } = await openHarness({ ...slow(40), 'hook.example': { A: ['192.0.2.1'] } }, { timeoutMs: 60_000 })
    const stopping = new AbortController()
    const waiting = Array.from({ length: 40 }, (_, index) => code(lookup(`slow-${index}.example`, 'hostile', stopping.signal)))
    await expect.poll(() => server.questions.length).toBeGreaterThanOrEqual(16)
    const started = performance.now()
    expect(await lookup('hook.example', 'other')).toEqual(['192.0.2.1'])
    // A hostile tenant's names are not in the thread pool, where this look-up of the system's would wait behind them.
    await dns.lookup('localhost')
    expect(performance.now() - started).toBeLessThan(1000)
    // No more of them are asked for at once than one tenant may.
    expect(new Set(server.questions.map(({ name }) => name).filter((name) => name.startsWith('slow')))).toHaveLength(
      lookupLimits.maxPerTenant,
    )
    stopping.abort()
    await Promise.all(waiting)
  })

  test('are no longer requested once no caller waits, and free their slots', async () => {
    const slots = new FairSlots({ ...lookupLimits, max: 2, maxPerTenant: 2 })
    const { lookup, code } = await openHarness({ ...slow(2), 'hook.example': { A: ['192.0.2.1'] } }, { slots, timeoutMs: 60_000 })
    const [one, other] = [new AbortController(), new AbortController()]
    const first = code(lookup('slow-0.example', 'a', one.signal))
    const second = code(lookup('slow-0.example', 'a', other.signal))
    await expect.poll(() => slots.held).toBe(1)
    one.abort()
    await first
    expect(slots.held).toBe(1)
    other.abort()
    await second
    await expect.poll(() => slots.held).toBe(0)
    expect(await lookup('hook.example')).toEqual(['192.0.2.1'])
  })

  test('fail at their timeout, and are not requested again at once', async () => {
    const { lookup, code, server } = await openHarness(slow(1), { timeoutMs: 200 })
    expect(await code(lookup('slow-0.example'))).toBe('EAI_AGAIN')
    const asked = server.questions.length
    expect(await code(lookup('slow-0.example'))).toBe('EAI_AGAIN')
    expect(server.questions.length).toBe(asked)
  })

  test('beyond the queue limit are rejected at once, which is not held against the name', async () => {
    const slots = new FairSlots({ max: 1, maxPerTenant: 1, maxQueued: 1, maxQueuedPerTenant: 1, timeoutMs: 60_000 })
    const zone = { ...slow(2), 'hook.example': { A: ['192.0.2.1'] } }
    const { lookup, code } = await openHarness(zone, { slots, timeoutMs: 60_000 })
    const stopping = new AbortController()
    const waiting = [0, 1].map((index) => code(lookup(`slow-${index}.example`, 'a', stopping.signal)))
    await expect.poll(() => slots.queued).toBe(1)
    expect(await code(lookup('hook.example'))).toBe('EAI_AGAIN')
    stopping.abort()
    await Promise.all(waiting)
    await expect.poll(() => slots.held).toBe(0)
    expect(await lookup('hook.example')).toEqual(['192.0.2.1'])
  })
})

test('without these files a system knows names by DNS alone', async () => {
  const none = `/nonexistent/${randomUUID()}`
  const { lookup } = await openHarness({ 'hook.example': { A: ['192.0.2.1'] } }, { hostsFile: none, configFile: none })
  expect(await lookup('hook.example')).toEqual(['192.0.2.1'])
})
