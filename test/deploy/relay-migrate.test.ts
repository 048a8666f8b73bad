import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runNode } from '../../deploy/local/processes/node-process.ts'
import { freshDatabase } from '../setup/database.ts'

const relayMigrate = (command: string, env: Record<string, string>) =>
  runNode([join(import.meta.dirname, '../../deploy/relay-migrate.ts'), command], env)

test('relay-migrate brings the databases that it is given up to the code, however often it runs, and says which migrations are missing', async () => {
  const [actions, oauth] = await Promise.all([freshDatabase(), freshDatabase()])
  try {
    const env = { ACTIONS_DATABASE_URL: actions.url, OAUTH_DATABASE_URL: oauth.url }
    const missing = await relayMigrate('check', env)
    expect(missing).toMatchObject({ code: 78, stderr: expect.stringContaining('0001_previews_and_runs') })
    const runs = await Promise.all([relayMigrate('run', env), relayMigrate('run', env)])
    for (const { code, stderr } of runs) expect(code, stderr).toBe(0)
    expect(
      runs
        .map(({ stderr }) => stderr)
        .join('')
        .match(/"migration":"0001_connect"/g),
    ).toHaveLength(1)
    expect(await relayMigrate('check', env)).toMatchObject({ code: 0 })
    expect(await relayMigrate('run', {})).toMatchObject({ code: 2 })
  } finally {
    await Promise.all([actions.drop(), oauth.drop()])
  }
})
