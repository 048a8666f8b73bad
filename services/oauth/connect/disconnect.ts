/** Ending a connection: forgotten here at once and whatever happens then; the provider is asked to forget it too. */
import type { Asker } from '#mesh/audit/event.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Connections } from '../connections/connections.ts'
import type { HeldConnection } from '../connections/store.ts'
import { errors } from '../errors.ts'
import type { Protocol } from '../providers/protocol.ts'
import { ProviderError } from '../providers/provider-error.ts'
import type { Providers } from '../providers/registry.ts'
import { type Vault, VaultError } from '../vault/vault.ts'

export interface DisconnectingParts {
  providers: Pick<Providers, 'find'>
  protocol: Pick<Protocol, 'revoke'>
  vault: Pick<Vault, 'open'>
  connections: Pick<Connections, 'remove'>
  log: Logger
}

export class Disconnecting {
  readonly #parts: DisconnectingParts

  constructor(parts: DisconnectingParts) {
    this.#parts = parts
  }

  /** Whether the provider confirmed that it forgot the tokens. Throws CONNECTION_NOT_FOUND, also for another's. */
  async disconnect(by: Asker, connectionId: string): Promise<{ revoked: boolean }> {
    const held = await this.#parts.connections.remove(by, connectionId)
    if (held === undefined) throw errors.CONNECTION_NOT_FOUND()
    return { revoked: await this.#revoke(held) }
  }

  async #revoke(held: HeldConnection): Promise<boolean> {
    const { providers, protocol, vault, log } = this.#parts
    const found = providers.find(held.provider)
    // Switched off here since: there is nobody to ask.
    if (found === undefined || 'missing' in found) return false
    const { workspace, connectionId, legacy, tokens } = held
    // The refresh token's end is that of the access tokens made from it (RFC 7009, 2.1).
    const kind = tokens.refresh === undefined ? 'access' : 'refresh'
    try {
      const token = vault.open({ workspace, connectionId, kind }, tokens.refresh ?? tokens.access, { legacy })
      return await protocol.revoke(found.provider, token, kind)
    } catch (error) {
      const about = { provider: held.provider, connection_id: connectionId }
      if (error instanceof VaultError) log.error({ ...about, reason: error.reason }, 'a token that was removed does not open')
      else if (error instanceof ProviderError) log.warn({ ...about, ...error.failure }, 'a provider did not revoke a token')
      else throw error
      return false
    }
  }
}
