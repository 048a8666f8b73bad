/** The minimum cost of the mesh's shape: Fastify → grpc-js → a service that answers from memory; in two processes like the mesh's. */
import { join } from 'node:path'
import type { ListActionsResponse } from '#gen/relay/actions/v1/actions.ts'
import { type MeshProcess, startProcess } from '../../deploy/local/processes/child.ts'

export type Baseline = readonly [gateway: MeshProcess, service: MeshProcess]

/** `response` is the response to every request; `env` is for both processes. */
export async function startBaseline(response: ListActionsResponse, logs: string, env: Record<string, string>): Promise<Baseline> {
  const start = (name: string, own: Record<string, string>) =>
    startProcess({
      name: `baseline-${name}`,
      main: join(import.meta.dirname, `${name}.ts`),
      log: join(logs, `baseline-${name}.log`),
      env: () => ({ ...env, ...own }),
    })
  const service = await start('service', { FLOOR_RESPONSE: JSON.stringify(response) })
  return [await start('gateway', { BASELINE_SERVICE: service.listening.grpc! }), service]
}
