/** The work behind `make reset`: local mode forgets its data, secrets and logs. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { readConfig, text } from '#mesh/config.ts'
import { postgresAccount } from './account.ts'
import { placeCluster, stopLeftover } from './cluster.ts'
import { HeldError, prepareHome, takeLock } from './home.ts'

const { home } = readConfig({
  home: text('RELAY_HOME', 'The folder for data, secrets and logs', { default: join(import.meta.dirname, '../../.relay') }),
})
try {
  prepareHome(home)
  takeLock(join(home, 'lock'))
  const place = placeCluster(home, postgresAccount())
  await stopLeftover(join(place, 'data'), console.log)
  rmSync(place, { recursive: true, force: true })
  rmSync(home, { recursive: true, force: true })
  console.log(`${home} is gone, and with it all that local mode kept.`)
} catch (error) {
  if (!(error instanceof HeldError)) throw error
  console.log(`Relay runs from ${home} (process ${error.pid}): stop it first.`)
  process.exitCode = 1
}
