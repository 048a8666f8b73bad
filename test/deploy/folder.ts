import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

export const checkout = join(import.meta.dirname, '../..')

/** A temporary folder that other accounts may enter, as Postgres's must under root. */
export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'relay-deploy-'))
  chmodSync(path, 0o755)
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** Puts stand-ins where a checkout has the mains of the mesh. */
export function placeStandIns(root: string): void {
  for (const main of ['services/idempotency/main.ts', 'services/ratelimit/main.ts', 'services/actions/main.ts', 'gateway/main.ts']) {
    mkdirSync(dirname(join(root, main)), { recursive: true })
    copyFileSync(join(import.meta.dirname, 'stand-in.ts'), join(root, main))
  }
  copyFileSync(join(checkout, 'package.json'), join(root, 'package.json'))
}

/** A copy of the launcher in a checkout of its own, whose mesh is made of stand-ins. */
export function placeLauncher(root: string): string {
  placeStandIns(root)
  cpSync(join(checkout, 'deploy/local'), join(root, 'deploy/local'), { recursive: true })
  mkdirSync(join(root, 'mesh'), { recursive: true })
  copyFileSync(join(checkout, 'mesh/config.ts'), join(root, 'mesh/config.ts'))
  symlinkSync(join(checkout, 'node_modules'), join(root, 'node_modules'))
  return join(root, 'deploy/local/up.ts')
}
