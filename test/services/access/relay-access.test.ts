import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseApiKey } from '#mesh/api-key.ts'
import { keyHash } from '../../../services/access/keys/key.ts'
import { postgresKeyStore } from '../../../services/access/keys/store.postgres.ts'
import { startProcess } from '../../fixtures/mesh/process.ts'
import { freshDatabase } from '../../setup/database.ts'
import { type AccessDatabase, accessDatabase } from './keys/database.ts'

const program = new URL('../../../services/access/relay-access.cli.ts', import.meta.url).pathname
const pepper = 'the pepper of this test, long enough'

describe('relay-access create-key', () => {
  let access: AccessDatabase
  beforeAll(async () => {
    access = await accessDatabase()
  })
  afterAll(() => access.close())

  const run = async (args: readonly string[], env: Record<string, string> = {}) => {
    const { ended, text } = startProcess(program, { DATABASE_URL: access.url, ACCESS_KEY_PEPPER: pepper, RELAY_ENV: 'test', ...env }, args)
    return { code: await ended, ...text }
  }
  const required = ['--workspace', 'acme', '--role', 'admin', '--actor', 'ada', '--name', 'the first']
  const find = (apiKey: string) => postgresKeyStore(access.database).findByHash(keyHash(pepper)(apiKey))

  test('prints only a key, which the service accepts, and writes an audit event for the operator', async () => {
    const { code, stdout, stderr } = await run(['create-key', ...required])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^rly_test_[0-9A-Za-z]{36}\n$/)
    const apiKey = stdout.trim()
    expect(parseApiKey(apiKey)).toEqual({ env: 'test' })
    const key = (await find(apiKey))!
    expect(key).toMatchObject({
      workspace: 'acme',
      role: 'admin',
      actor: 'ada',
      name: 'the first',
      createdBy: 'operator',
      status: 'active',
      expiresAt: undefined,
      permissions: expect.arrayContaining(['keys:admin', 'audit:read']),
    })
    const operator = { workspace: 'acme', actor: 'operator', source: 'cli', keyId: '', service: 'access' }
    const told = { ...operator, action: 'keys.create', outcome: 'success', targets: [`key:${key.keyId}`] }
    expect(await access.events()).toEqual([expect.objectContaining(told)])
  })

  test('narrows the key, and limits its lifetime, as requested', async () => {
    const sources = ['--allowed-source', '192.0.2.0/24', '--allowed-source', '2001:db8::1']
    const narrow = ['--scope', 'actions:read', '--scope', 'keys:read', ...sources, '--expires-in', '2h']
    const key = (await find((await run(['create-key', ...required, ...narrow], { RELAY_ENV: 'production' })).stdout.trim()))!
    expect(key).toMatchObject({ permissions: ['actions:read', 'keys:read'], allowedSources: ['192.0.2.0/24', '2001:db8::1/128'] })
    expect(Math.round(key.expiresInMs! / 3_600_000)).toBe(2)
    const preview = (await find((await run(['create-key', ...required, '--preview-only', '--expires-in', '3600'])).stdout.trim()))!
    expect(preview).toMatchObject({ previewOnly: true, permissions: ['actions:read', 'actions:preview'] })
    expect(Math.round(preview.expiresInMs! / 60_000)).toBe(60)
  })

  test('recovers a workspace whose last admin key was revoked, and revokes untrusted keys', async () => {
    const of = ['--workspace', 'locked-out']
    const made = async (...more: string[]) => {
      const { stdout } = await run(['create-key', ...of, '--role', 'admin', '--actor', 'ada', '--name', 'n', ...more])
      return (await find(stdout.trim()))!
    }
    const last = await made()
    expect(await run(['revoke-key', ...of, '--key-id', last.keyId])).toMatchObject({ code: 0, stdout: `${last.keyId}\n` })
    expect((await run(['list-keys', ...of])).stdout).toBe('')
    const recovered = await made()
    const lines = async (...more: string[]) => {
      const { stdout } = await run(['list-keys', ...of, ...more])
      return stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { keyId: string; status: string })
    }
    expect(await lines()).toEqual([expect.objectContaining({ keyId: recovered.keyId, status: 'active', role: 'admin' })])
    expect((await lines('--all')).map(({ status }) => status)).toEqual(['active', 'revoked'])
    const elsewhere = await run(['revoke-key', '--workspace', 'acme', '--key-id', recovered.keyId])
    expect(elsewhere).toMatchObject({ code: 1, stderr: expect.stringContaining('The key does not exist') as string })
  })

  const without = (name: string) => required.filter((_, index) => required[index - (index % 2)] !== name)
  test.each([
    ['no workspace', without('--workspace'), '--workspace is required'],
    ['an empty name', [...without('--name'), '--name', ''], '--name "" is not valid'],
    ['an odd workspace', [...without('--workspace'), '--workspace', 'a b'], '--workspace "a b" is not valid'],
    ['no number of time', [...required, '--expires-in', 'soon'], '--expires-in "soon" is not a time'],
    ['more than ten years', [...required, '--expires-in', '3651d'], '--expires-in "3651d" is not a time'],
    ['an unknown option', [...required, '--admin'], "Unknown option '--admin'"],
  ])('is not understood with %s, and makes nothing', async (_, args, why) => {
    const before = (await access.rows('api_keys')).length
    const { code, stdout, stderr } = await run(['create-key', ...args])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(why)
    expect((await access.rows('api_keys')).length).toBe(before)
  })

  test('says by field what the rules of keys refuse', async () => {
    const wrong = ['--role', 'viewer', '--scope', 'keys:admin', '--allowed-source', 'here']
    const { code, stdout, stderr } = await run(['create-key', ...without('--role'), ...wrong])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/allowed_sources\.0 is not an IP address.*\n.*scopes\.0 is not a permission of the role viewer/)
    expect((await run(['create-key', ...without('--role'), '--role', 'root'])).stderr).toContain('role is not a role')
  })

  test('reports what is wrong with its configuration, without secrets', async () => {
    const { code, stderr } = await run(['create-key', ...required], { ACCESS_KEY_PEPPER: '', RELAY_ENV: 'nowhere' })
    expect(code).toBe(78)
    expect(stderr).toMatch(/ACCESS_KEY_PEPPER is not set/)
    expect(stderr).toMatch(/RELAY_ENV is "nowhere"/)
    expect(stderr).not.toContain(access.url)
  })

  test('says when the database is not there, does not let it in, or has no tables yet', async () => {
    const password = `p${randomUUID()}`
    const [away, stranger] = [new URL(access.url), new URL(access.url)]
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
        const { code, stdout, stderr } = await run(['create-key', ...required], { DATABASE_URL: url })
        expect({ code, stdout }, why).toEqual({ code: 1, stdout: '' })
        expect(stderr).toContain(why)
        expect(stderr).not.toContain(password)
        expect(stderr).not.toContain(pepper)
      }
    } finally {
      await empty.drop()
    }
  })
})

describe('relay-access', () => {
  const run = async (...args: string[]) => {
    const { ended, text } = startProcess(program, {}, args)
    return { code: await ended, ...text }
  }

  test('explains itself, with its commands and its variables', async () => {
    const { code, stdout } = await run('--help')
    expect(code).toBe(0)
    for (const word of ['create-key', '--workspace', 'DATABASE_URL', 'ACCESS_KEY_PEPPER', 'RELAY_ENV']) expect(stdout).toContain(word)
  })

  test('knows no other commands, and does nothing without one', async () => {
    const said = (what: string) => ({ code: 2, stdout: '', stderr: expect.stringContaining(what) as string })
    expect(await run('drop-all-keys')).toMatchObject(said('no command "drop-all-keys"'))
    expect(await run()).toMatchObject(said('Usage'))
  })
})
