/**
 * Prints targets.yml for the mesh that `make up` runs: `node deploy/prometheus/targets.ts .relay > .relay/targets.yml`. Ports are kept from
 * one start to the next; print it again when `make up` says that it took others.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'

/** What local mode writes down of itself, as far as it is needed here. */
export interface Running {
  /** host:port, like every `admin`. */
  readonly gateway_admin: string
  /** By name: "actions", and its further replicas as "actions-2" … */
  readonly services: Readonly<Record<string, { readonly admin: string }>>
}

/** One entry a service, in the order of their names; its replicas are targets of it. */
export function targetsOf({ gateway_admin, services }: Running): { targets: string[]; labels: { service: string } }[] {
  const all = [['gateway', gateway_admin] as const, ...Object.entries(services).map(([name, { admin }]) => [name, admin] as const)]
  const byService = Map.groupBy(all, ([name]) => name.replace(/-\d+$/, ''))
  return [...byService.entries()]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([service, processes]) => ({ targets: processes.map(([, admin]) => admin), labels: { service } }))
}

if (import.meta.main) {
  const running = JSON.parse(readFileSync(join(process.argv[2] ?? '.relay', 'local.json'), 'utf8')) as Running
  process.stdout.write(stringify(targetsOf(running)))
}
