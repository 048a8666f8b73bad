/** Tokens that came for a connection that is no more: the provider is asked to forget them. */
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Protocol } from '../providers/protocol.ts'
import type { KeepParts } from './keep.ts'

export const giveBack =
  ({ protocol, log }: { protocol: Pick<Protocol, 'revoke'>; log: Logger }): KeepParts['dropped'] =>
  async ({ accessToken, refreshToken }, _of, provider) => {
    const [token, kind] = refreshToken === undefined ? ([accessToken, 'access'] as const) : ([refreshToken, 'refresh'] as const)
    await protocol.revoke(provider, token, kind).catch((error: unknown) => {
      log.warn({ err: error, provider: provider.name }, 'disconnected during a refresh; the provider could not be told to forget it')
    })
  }
