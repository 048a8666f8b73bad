/** The work behind `make reset`: deletes local mode's data, secrets and logs. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { readConfig, text } from '#mesh/config.ts'
import { postgresAccount } from './postgres/account.ts'
import { placeCluster, stopLeftover } from './postgres/cluster.ts'
import { InUseError, prepareHome, takeLock } from './state/state-dir.ts'

const { stateDir } = readConfig({
  stateDir: text('RELAY_HOME', 'The folder for data, secrets and logs', { default: join(import.meta.dirname, '../../.relay') }),
})
try {
  prepareHome(stateDir)
  takeLock(join(stateDir, 'lock'))
  const place = placeCluster(stateDir, postgresAccount())
  await stopLeftover(join(place, 'data'), console.log)
  rmSync(place, { recursive: true, force: true })
  rmSync(stateDir, { recursive: true, force: true })
  console.log(`${stateDir} is gone, and with it all that local mode kept.`)
} catch (error) {
  if (!(error instanceof InUseError)) throw error
  console.log(`Relay runs from ${stateDir} (process ${error.pid}): stop it first.`)
  process.exitCode = 1
}
