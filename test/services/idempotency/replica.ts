/** Replicas of the idempotency service in the process of a test, each with its own port and connections, and clients to them. */
import { randomUUID } from 'node:crypto'
import { type ClaimRequest, type ClaimResponse, IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { Secret } from '#mesh/config.ts'
import type { PeerToken } from '#mesh/grpc/caller.ts'
import { Channel, type Methods, methodsOf } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { Database } from '#mesh/postgres/database.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { instruments } from '../../../services/idempotency/metrics.ts'
import { idempotencyService } from '../../../services/idempotency/service.ts'
import { PostgresClaimStore } from '../../../services/idempotency/store.postgres.ts'
import type { ClaimStore } from '../../../services/idempotency/store.ts'
import { fakeMesh } from '../../fakes/identity.ts'

export const migrations = new URL('../../../services/idempotency/migrations/', import.meta.url)
export const mesh = fakeMesh()
export const leaseMs = 30_000
const verifier = mesh.verifierFor('idempotency')

export type Client = Methods<typeof IdempotencyServiceService>

export interface Replica {
  readonly address: string
  readonly metrics: Metrics
  readonly client: Client
  /** Another client; without a token it is nobody of the mesh. */
  clientAs(peerToken?: PeerToken): Client
  close(): Promise<void>
}

export async function startReplica(store: ClaimStore, health?: Health): Promise<Replica> {
  const metrics = new Metrics('idempotency')
  const service = idempotencyService({ store, leaseMs, instruments: instruments(metrics) })
  const server = new GrpcServer({
    services: [service],
    verifier,
    health: health ?? new Health({ services: ['relay.idempotency.v1.IdempotencyService'] }),
    log: createLogger('idempotency', 'silent'),
    metrics,
  })
  const address = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`
  const channels: Channel[] = []
  const clientAs = (peerToken?: PeerToken): Client => {
    const channel = new Channel({ address, peerToken })
    channels.push(channel)
    return methodsOf(IdempotencyServiceService, channel)
  }
  return {
    address,
    metrics,
    client: clientAs(mesh.peerToken('actions')),
    clientAs,
    async close() {
      for (const channel of channels) channel.close()
      await server.drain(1000)
    },
  }
}

/** A replica as the process has it: connections and limits like those of main.ts. */
export async function startOnPostgres(url: string): Promise<Replica & { database: Database; store: PostgresClaimStore }> {
  const database = new Database({ url: new Secret(url), log: createLogger('idempotency', 'silent'), statementMs: 1000 })
  const store = new PostgresClaimStore({ database, retentionMs: 24 * 3_600_000 })
  const replica = await startReplica(store, new Health({ services: [], checks: { postgres: () => database.ping() } }))
  return {
    ...replica,
    database,
    store,
    async close() {
      await replica.close()
      await database.close()
    },
  }
}

export const keyOf = (key: string = randomUUID()) => ({ workspace: 'w', keyKind: 'client', key })

export const claimRequest = (key = keyOf(), over: Partial<ClaimRequest> = {}): ClaimRequest => ({
  key,
  fingerprint: Buffer.alloc(32, 1),
  attemptId: randomUUID(),
  runId: randomUUID(),
  leaseMs: 0,
  ...over,
})

/** The value of one outcome, or an error that says which it was. */
export function outcomeOf<Case extends NonNullable<ClaimResponse['outcome']>['$case']>(
  response: ClaimResponse,
  wanted: Case,
): Extract<NonNullable<ClaimResponse['outcome']>, { $case: Case }>['value'] {
  if (response.outcome?.$case !== wanted) throw new Error(`${response.outcome?.$case}, not ${wanted}`)
  return response.outcome.value as never
}

export const count = (responses: readonly ClaimResponse[]): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const { outcome } of responses) counts[outcome!.$case] = (counts[outcome!.$case] ?? 0) + 1
  return counts
}
