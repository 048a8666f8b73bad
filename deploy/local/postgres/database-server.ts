/** The database server of a mesh: the given Postgres, or its own. */
import type { DatabaseServer } from './databases.ts'
import type { MeshOptions } from '../mesh-options.ts'
import { startPostgres, type Postgres } from './server.ts'
import { timed, type ProgressLog } from '../processes/steps.ts'

/** The mesh's own Postgres is restarted when it dies. `fail` is called if that fails. */
export async function databaseServer(
  { folder, databaseUrl, durable }: MeshOptions,
  say: ProgressLog,
  fail: (error: Error) => void,
): Promise<{ server: DatabaseServer; own: Postgres | undefined }> {
  if (databaseUrl !== undefined) {
    say('using the Postgres of DATABASE_URL')
    return { server: { adminUrl: databaseUrl, folder }, own: undefined }
  }
  // Undefined until the first start is complete.
  let own: Postgres | undefined = undefined
  const onDeath = (lines: string): void => {
    say(`Postgres ended unasked; its log ends with\n${lines}`)
    void own?.start().then(() => say('Postgres runs again'), fail)
  }
  own = await timed(
    say,
    'starting Postgres',
    () => startPostgres({ folder, durable, log: (line) => say(`  ${line}`), onDeath }),
    ({ port }) => `Postgres listens: 127.0.0.1:${port}`,
  )
  return { server: own, own }
}
