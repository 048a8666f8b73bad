/** Operators' programs speak to a database on another machine as the processes do: encrypted, in production. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const run = (program: string, args: string[], env: Record<string, string>) =>
  new Promise<{ code: number; stderr: string }>((resolve) => {
    const options = { env: { PATH: process.env.PATH ?? '', ...env }, timeout: 30_000 }
    execFile(process.execPath, [join(root, program), ...args], options, (error, _stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stderr }),
    )
  })
const remote = (query = '') => `postgres://user:the-password@db.invalid/relay${query}`
const programs: [string, string[], string][] = [
  ['services/access/relay-access.cli.ts', ['list-keys'], 'DATABASE_URL'],
  ['services/access/relay-audit.cli.ts', ['verify'], 'AUDIT_DATABASE_URL'],
  ['services/oauth/relay-oauth.cli.ts', ['rotate'], 'DATABASE_URL'],
  ['deploy/relay-migrate.ts', ['check'], 'ACCESS_DATABASE_URL'],
]

test.each(programs)(
  '%s %j does not start in production with an unencrypted database elsewhere, and names %s',
  async (program, args, variable) => {
    const { code, stderr } = await run(program, args, { RELAY_ENV: 'production', [variable]: remote() })
    expect(stderr).toContain(`${variable} leads to db.invalid unencrypted`)
    expect(stderr).not.toContain('the-password')
    expect(code).toBe(78)
  },
)

test.each([
  ['encrypted', { RELAY_ENV: 'production' }, '?sslmode=verify-full'],
  ['where the network encrypts', { RELAY_ENV: 'production', NETWORK_ENCRYPTED: 'true' }, ''],
  ['outside production', { RELAY_ENV: 'development' }, ''],
])('a database elsewhere is asked %s', async (_, env, query) => {
  const { stderr } = await run('services/access/relay-audit.cli.ts', ['verify'], { ...env, AUDIT_DATABASE_URL: remote(query) })
  expect(stderr).not.toContain('unencrypted')
  expect(stderr).toContain('Postgres does not answer')
})
