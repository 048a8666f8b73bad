/** Ends a connection: it is deleted here at once, whatever happens then; the provider is asked to revoke it until it has. */
import type { Principal } from '#mesh/audit/event.ts'
import type { Connections } from '../connections/connections.ts'
import { errors } from '../errors.ts'
import { type Revocation, revocationOf } from '../revocations/revocation.ts'
import type { TokenRevoker } from '../revocations/token-revoker.ts'

export interface DisconnectorParts {
  connections: Pick<Connections, 'remove'>
  tokenRevoker: Pick<TokenRevoker, 'now'>
}

export class Disconnector {
  readonly #parts: DisconnectorParts

  constructor(parts: DisconnectorParts) {
    this.#parts = parts
  }

  /** Whether the provider confirmed the revocation at once. Throws CONNECTION_NOT_FOUND, also for another actor's. */
  async disconnect(by: Principal, connectionId: string): Promise<{ revoked: boolean }> {
    const { connections, tokenRevoker } = this.#parts
    let revocation: Revocation | undefined
    const held = await connections.remove(by, connectionId, (before) => (revocation = revocationOf(before)))
    if (held === undefined || revocation === undefined) throw errors.CONNECTION_NOT_FOUND()
    return { revoked: await tokenRevoker.now(revocation) }
  }
}
