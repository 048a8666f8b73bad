import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Vault } from '../../../services/oauth/vault/vault.ts'
import { startProcess } from '../../fixtures/mesh/process.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { freshDatabase } from '../../setup/database.ts'
import { type SealedConnections, newKey, sealedConnections } from './vault/sealed-connections.ts'

const program = new URL('../../../services/oauth/relay-oauth.cli.ts', import.meta.url).pathname
const [old, fresh] = [newKey(), newKey()]
const before = new Vault([old, fresh])
const after = new Vault([fresh, old])

describe('relay-oauth rotate', () => {
  let connections: SealedConnections
  beforeAll(async () => {
    connections = await sealedConnections()
  })
  afterAll(() => connections.close())
  beforeEach(() => connections.empty())

  const start = (args: readonly string[], env: Record<string, string> = {}) =>
    startProcess(program, { DATABASE_URL: connections.url, OAUTH_ENCRYPTION_KEY: `${fresh},${old}`, ...env }, args)
  const run = async (args: readonly string[], env: Record<string, string> = {}) => {
    const { ended, text } = start(args, env)
    return { code: await ended, ...text }
  }
  const check = (env: Record<string, string> = {}) => run(['rotate', '--check'], env)

  test('says how many are left, encrypts them, and has then none left', async () => {
    await connections.fill(7, before)
    const rows = await connections.rows()
    expect(await check()).toMatchObject({ code: 1, stdout: `7 of 7 connections are not under the first key, ${after.firstKid}\n` })
    expect(await connections.rows()).toEqual(rows)
    const rotated = await run(['rotate', '--batch', '3'])
    const sentence = `7 of 7 connections encrypted with the first key, ${after.firstKid}; 0 left as they are\n`
    expect(rotated).toEqual({
      code: 0,
      stdout: sentence,
      stderr: expect.stringMatching(/^3 connections seen, 3 encrypted with the first key\n/),
    })
    expect(await check()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0 of 7 /) })
    expect(await check({ OAUTH_ENCRYPTION_KEY: fresh })).toMatchObject({ code: 0 })
  })

  test('goes back with the list the other way round', async () => {
    await connections.fill(7, after)
    const back = { OAUTH_ENCRYPTION_KEY: `${old},${fresh}` }
    expect(await run(['rotate'], back)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^7 of 7 /) })
    expect(await check({ OAUTH_ENCRYPTION_KEY: old })).toMatchObject({ code: 0 })
  })

  test('goes on, when it was killed in the middle, with what is left', async () => {
    await connections.fill(9, before)
    await connections.holdingFifth(async () => {
      const killed = start(['rotate', '--batch', '2'])
      await until('two batches are done', async () => (await connections.notUnder(after.firstKid)) === 5, 20_000)
      killed.child.kill('SIGKILL')
      expect(await killed.ended).toBe('SIGKILL')
    })
    expect(await check()).toMatchObject({ code: 1, stdout: expect.stringMatching(/^5 of 9 /) })
    expect(await run(['rotate'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^5 of 9 /) })
    expect(await connections.notUnder(after.firstKid)).toBe(0)
  })

  test('names what it cannot open, does the rest, and says that it is not done', async () => {
    const [one, other] = await connections.fill(4, before)
    const theirs = await connections.held(other!)
    await connections.put(one!, 'access_sealed', theirs.tokens.access)
    const { connectionId } = await connections.held(one!)
    const swapped = `connection ${connectionId} of "acme", access token: it was encrypted for another connection: someone wrote it here`
    expect(await run(['rotate'])).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^3 of 4 connections .*; 1 left as they are\n$/),
      stderr: expect.stringContaining(swapped),
    })
    expect(await check()).toMatchObject({ code: 1, stdout: expect.stringMatching(/^1 of 4 /) })
    const unreadable = await run(['rotate'], { OAUTH_ENCRYPTION_KEY: newKey() })
    expect(unreadable).toMatchObject({ code: 1, stdout: expect.stringMatching(/^0 of 4 connections .*; 4 left as they are\n$/) })
    expect(unreadable.stderr).toContain(`connection ${theirs.connectionId} of "acme", refresh token: no key of the list opens it`)
  })

  test('names twenty of many that it cannot open, and counts the others', async () => {
    await connections.fill(30, before)
    const { stdout, stderr } = await run(['rotate'], { OAUTH_ENCRYPTION_KEY: newKey() })
    expect(stdout).toMatch(/30 left as they are/)
    expect(stderr.match(/^connection /gm)).toHaveLength(20)
    expect(stderr).toMatch(/^and 30 more$/m)
  })

  test.each([
    ['a batch of none', ['rotate', '--batch', '0'], '--batch "0" is not a number from 1 to 1000'],
    ['a batch that is too large', ['rotate', '--batch', '1001'], '--batch "1001" is not a number'],
    ['an unknown option', ['rotate', '--force'], "Unknown option '--force'"],
    ['an argument', ['rotate', 'all'], 'Unexpected argument'],
  ])('is not understood with %s, and changes nothing', async (_, args, why) => {
    await connections.fill(1, before)
    const { code, stdout, stderr } = await run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(why)
    expect(await connections.notUnder(after.firstKid)).toBe(1)
  })

  test('names the key that is wrong and all else that is, and shows no secret', async () => {
    const keys = `${fresh},${old.slice(0, -3)}`
    const { code, stdout, stderr } = await run(['rotate'], { DATABASE_URL: '', OAUTH_ENCRYPTION_KEY: keys })
    expect({ code, stdout }).toEqual({ code: 78, stdout: '' })
    expect(stderr).toMatch(/OAUTH_ENCRYPTION_KEY has 2 keys, of which number 2 is not a Fernet key/)
    expect(stderr).toMatch(/DATABASE_URL is not set/)
    for (const key of [fresh, old.slice(0, 8)]) expect(stderr).not.toContain(key)
    const repeated = await run(['rotate'], { OAUTH_ENCRYPTION_KEY: `${fresh},${old},${fresh}` })
    expect(repeated).toMatchObject({ code: 78, stderr: expect.stringContaining('of which number 3 is number 1 again') })
    expect(await run(['rotate'], { OAUTH_ENCRYPTION_KEY: '' })).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('OAUTH_ENCRYPTION_KEY is not set'),
    })
  })

  test('says when the database is not there, does not let it in, or has no tables yet', async () => {
    const password = `p${randomUUID()}`
    const [away, stranger] = [new URL(connections.url), new URL(connections.url)]
    away.port = '1'
    Object.assign(stranger, { username: `nobody_${randomUUID().slice(0, 8)}`, password })
    const empty = await freshDatabase()
    try {
      const cases = [
        [away.href, 'Postgres does not answer at DATABASE_URL'],
        [stranger.href, 'does not let the role of DATABASE_URL in'],
        [empty.url, 'has no tables yet'],
      ] as const
      for (const [url, why] of cases) {
        const { code, stdout, stderr } = await run(['rotate'], { DATABASE_URL: url })
        expect({ code, stdout }, why).toEqual({ code: 1, stdout: '' })
        expect(stderr).toContain(why)
        for (const hidden of [password, fresh, old]) expect(stderr).not.toContain(hidden)
      }
    } finally {
      await empty.drop()
    }
  })
})

describe('relay-oauth', () => {
  const run = async (...args: string[]) => {
    const { ended, text } = startProcess(program, {}, args)
    return { code: await ended, ...text }
  }

  test('explains itself, with its commands, its variables and how keys are changed', async () => {
    const { code, stdout } = await run('--help')
    expect(code).toBe(0)
    const words = ['rotate', '--check', '--batch', 'DATABASE_URL', 'OAUTH_ENCRYPTION_KEY', 'put the old key first']
    for (const word of words) expect(stdout).toContain(word)
  })

  test('knows no other commands, and does nothing without one', async () => {
    const said = (what: string) => ({ code: 2, stdout: '', stderr: expect.stringContaining(what) as string })
    for (const name of ['drop-all-keys', 'constructor']) expect(await run(name)).toMatchObject(said(`no command "${name}"`))
    expect(await run()).toMatchObject(said('Usage'))
  })
})
