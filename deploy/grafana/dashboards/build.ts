/** Writes the dashboards that Grafana reads: `node deploy/grafana/dashboards/build.ts`. A test holds the files to this source. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { actions } from './actions.ts'
import { mesh } from './mesh.ts'
import { service } from './service.ts'

/** By file name. */
export const dashboards = { 'mesh.json': mesh, 'service.json': service, 'actions.json': actions } as const

export const textOf = (dashboard: object): string => `${JSON.stringify(dashboard, null, 2)}\n`

if (import.meta.main) {
  for (const [name, dashboard] of Object.entries(dashboards)) writeFileSync(join(import.meta.dirname, name), textOf(dashboard))
}
