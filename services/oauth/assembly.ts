/** Assembles the parts of the service over the given stores, with its background loops. */
import type { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { ConnectFlow } from './connect/connect.ts'
import { Disconnector } from './connect/disconnect.ts'
import type { ConnectStore } from './connect/store.ts'
import { Connections } from './connections/connections.ts'
import type { ConnectionStore } from './connections/store.ts'
import type { Instruments } from './metrics.ts'
import type { Protocol } from './providers/protocol.ts'
import type { Providers } from './providers/registry.ts'
import { retention } from './retention.ts'
import { TokenRevoker } from './revocations/token-revoker.ts'
import type { RevocationStore } from './revocations/store.ts'
import type { TokenCache } from './connections/token-cache.ts'
import { connectionHeartbeat } from './tokens/heartbeat.ts'
import type { TokenJournal } from './tokens/journal.ts'
import { Refresh } from './tokens/refresh.ts'
import { Tokens } from './tokens/tokens.ts'
import type { Vault } from './vault/vault.ts'

export interface AssemblyParts {
  readonly connections: ConnectionStore
  readonly revocations: RevocationStore
  readonly steps: ConnectStore
  /** The stores whose entries do not expire by themselves, whether or not they are in use. */
  readonly stepsToExpire: Pick<ConnectStore, 'expire'>
  readonly cache: TokenCache
  readonly journal: TokenJournal
  readonly providers: Providers
  readonly protocol: Protocol
  readonly vault: Vault
  readonly instruments: Instruments
  readonly log: Logger
  readonly acted: () => void
  readonly keyStands: (keyId: string) => boolean
  readonly publicUrl: URL
  readonly returnOrigins: readonly string[]
  /** The timeout of one request to a provider, and how long an ended connection is kept, in milliseconds. */
  readonly providerMs: number
  readonly endedMs: number
}

export function assemble(all: AssemblyParts) {
  const { connections: store, revocations, steps, stepsToExpire, providers, instruments, providerMs } = all
  const connections = new Connections({ ...all, store })
  const tokenRevoker = new TokenRevoker({ ...all, store: revocations })
  // The provider may have to be discovered first; the rest is for writing the new tokens.
  const refresh = new Refresh({ ...all, store, tokenRevoker, leaseMs: 2 * providerMs + 2000, waitMs: providerMs })
  const tokens = new Tokens({ ...all, store, refresh, provider: (name) => providers.get(name) })
  const onStep = (step: string, outcome: string) => instruments.steps.inc({ step, outcome })
  const connectFlow = new ConnectFlow({ ...all, store: steps, connections, tokenRevoker, onStep })
  const loops: Readonly<Record<string, Pick<Loop, 'start' | 'stop'>>> = {
    heartbeat: connectionHeartbeat({ ...all, store }),
    revocations: tokenRevoker,
    retention: retention({ ...all, steps: stepsToExpire, connections }),
  }
  return { connections, connectFlow, disconnector: new Disconnector({ connections, tokenRevoker }), refresh, tokens, loops }
}
