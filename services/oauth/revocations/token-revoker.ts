/**
 * Has providers forget what is of no use here any more. Nobody waits for it: it is tried again for a day, with longer and longer waits, by
 * whichever replica. Where a provider's revocation ends all that an account granted, it is left as long as another connection of it stands.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Instruments } from '../metrics.ts'
import type { TokenGrant, Protocol } from '../providers/protocol.ts'
import { ProviderError } from '../providers/provider-error.ts'
import type { Providers } from '../providers/registry.ts'
import { type Vault, VaultError } from '../vault/vault.ts'
import { type Revocable, type Revocation, revocationOf } from './revocation.ts'
import type { RevocationStore } from './store.ts'

export interface TokenRevokerParts {
  readonly store: RevocationStore
  readonly providers: Pick<Providers, 'find'>
  readonly protocol: Pick<Protocol, 'revoke'>
  readonly vault: Pick<Vault, 'open' | 'seal'>
  readonly instruments: Instruments
  readonly log: Logger
}

/** `later` is the only one after which it is tried again. */
export type RevocationOutcome = 'revoked' | 'unsupported' | 'refused' | 'shared' | 'unreadable' | 'later'

const [intervalMs, failingMs] = [2000, 30_000]
const concurrency = 10
/** How long somebody who disconnects waits for the provider, in milliseconds. */
const waitMs = 3000

export class TokenRevoker {
  readonly #parts: TokenRevokerParts
  readonly #loop: Loop

  constructor(parts: TokenRevokerParts) {
    this.#parts = parts
    this.#loop = new Loop({ name: 'revocations', intervalMs: intervalMs, failingMs, log: parts.log, work: () => this.round() })
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  /** Takes some that are due; whether there may be more. */
  async round(): Promise<boolean> {
    const due = await this.#parts.store.take(concurrency)
    await Promise.all(due.map((each) => this.#revoke(each)))
    return due.length === concurrency
  }

  /** Tries one at once that stands in the store. Whether the provider confirmed it in time; if not, it is tried again. */
  async now(revocation: Revocation): Promise<boolean> {
    const late = pause(waitMs, 'later' as const, { ref: false })
    const outcome = await Promise.race([this.#revoke(revocation).catch((): RevocationOutcome => 'later'), late])
    return outcome === 'revoked'
  }

  /** What was granted for a connection that is no more, or never came to be. */
  async dropped({ accessToken, refreshToken }: TokenGrant, of: Omit<Revocable, 'legacy' | 'tokens'>): Promise<void> {
    const { store, vault } = this.#parts
    const { workspace, connectionId } = of
    const seal = (kind: 'access' | 'refresh', text: string) => vault.seal({ workspace, connectionId, kind }, text)
    const refresh = refreshToken === undefined ? undefined : seal('refresh', refreshToken)
    const revocation = revocationOf({ ...of, legacy: false, tokens: { access: seal('access', accessToken), refresh } })
    await store.add(revocation)
    await this.now(revocation)
  }

  async #revoke(revocation: Revocation): Promise<RevocationOutcome> {
    const { store, instruments, log } = this.#parts
    const outcome = await this.#outcome(revocation)
    instruments.revocations.inc({ provider: revocation.provider, outcome })
    if (outcome !== 'later') await store.done(revocation.revocationId)
    if (outcome === 'refused')
      log.warn({ provider: revocation.provider, connection: revocation.connectionId }, 'a provider refuses to revoke a token')
    return outcome
  }

  async #outcome(revocation: Revocation): Promise<RevocationOutcome> {
    const { store, providers, protocol, vault, log } = this.#parts
    const { workspace, connectionId, kind, sealed, legacy } = revocation
    const found = providers.find(revocation.provider)
    // Switched off here, perhaps for a while only.
    if (found === undefined || 'missing' in found) return 'later'
    if (found.provider.revocationEnds === 'account' && (await store.stands(revocation))) return 'shared'
    try {
      const token = vault.open({ workspace, connectionId, kind }, sealed, { legacy })
      return (await protocol.revoke(found.provider, token, kind)) ? 'revoked' : 'unsupported'
    } catch (error) {
      const about = { provider: revocation.provider, connection: connectionId }
      if (error instanceof VaultError) {
        log.error({ ...about, reason: error.reason }, 'a token that was to be revoked does not open')
        return 'unreadable'
      }
      if (!(error instanceof ProviderError)) throw error
      const { failure } = error
      // That the client is not accepted is not about the token.
      const isFinal = failure.kind === 'refused' && failure.code !== 'invalid_client' && failure.code !== 'unauthorized_client'
      return isFinal ? 'refused' : 'later'
    }
  }
}
