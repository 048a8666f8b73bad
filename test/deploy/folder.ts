import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { serviceNames } from '../../deploy/services.ts'

export const checkout = join(import.meta.dirname, '../..')

/** A temporary folder that other accounts may enter, as Postgres's must under root. */
export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'relay-deploy-'))
  chmodSync(path, 0o755)
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** Puts stand-ins where a checkout has the mains of the mesh. */
export function placeStandIns(root: string): void {
  const mains = ['gateway', 'deploy/sandbox', ...serviceNames.map((service) => `services/${service}`)]
  const places: [string, string][] = mains.map((folder) => [`${folder}/main.ts`, 'stand-in.ts'])
  const programs = [
    ['services/access/relay-access.cli.ts', 'stand-in-keys.ts'],
    ['deploy/relay-migrate.ts', 'stand-in-migrate.ts'],
  ] as const
  for (const [place, standIn] of [...places, ...programs]) {
    mkdirSync(dirname(join(root, place)), { recursive: true })
    copyFileSync(join(import.meta.dirname, standIn), join(root, place))
  }
  copyFileSync(join(checkout, 'package.json'), join(root, 'package.json'))
}

/** A copy of the launcher in a checkout of its own, whose mesh is made of stand-ins. */
export function placeLauncher(root: string): string {
  placeStandIns(root)
  cpSync(join(checkout, 'deploy/local'), join(root, 'deploy/local'), { recursive: true })
  for (const file of ['services.ts', 'migration-variables.ts']) cpSync(join(checkout, 'deploy', file), join(root, 'deploy', file))
  mkdirSync(join(root, 'mesh/identity'), { recursive: true })
  for (const file of ['mesh/config.ts', 'mesh/identity/ed25519.ts']) copyFileSync(join(checkout, file), join(root, file))
  // What every process loads before its main.
  cpSync(join(checkout, 'mesh/telemetry'), join(root, 'mesh/telemetry'), { recursive: true })
  for (const folder of ['node_modules', 'providers']) symlinkSync(join(checkout, folder), join(root, folder))
  return join(root, 'deploy/local/up.ts')
}
