/** Ending a connection: forgotten here at once and whatever happens then; the provider is asked to forget it too, until it has. */
import type { Principal } from '#mesh/audit/event.ts'
import type { Connections } from '../connections/connections.ts'
import { errors } from '../errors.ts'
import { type Revocation, revocationOf } from '../revocations/revocation.ts'
import type { Revoking } from '../revocations/revoking.ts'

export interface DisconnectingParts {
  connections: Pick<Connections, 'remove'>
  revoking: Pick<Revoking, 'now'>
}

export class Disconnecting {
  readonly #parts: DisconnectingParts

  constructor(parts: DisconnectingParts) {
    this.#parts = parts
  }

  /** Whether the provider confirmed at once that it forgot the tokens. Throws CONNECTION_NOT_FOUND, also for another's. */
  async disconnect(by: Principal, connectionId: string): Promise<{ revoked: boolean }> {
    const { connections, revoking } = this.#parts
    let revocation: Revocation | undefined
    const held = await connections.remove(by, connectionId, (before) => (revocation = revocationOf(before)))
    if (held === undefined || revocation === undefined) throw errors.CONNECTION_NOT_FOUND()
    return { revoked: await revoking.now(revocation) }
  }
}
