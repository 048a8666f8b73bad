/**
 * Revokes unused tokens at their providers. No caller waits for it: any replica retries for a day, with growing delays. If a provider's
 * revocation ends everything that an account granted, it waits as long as another connection of the account exists.
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

/** Only `later` is retried. */
export type RevocationOutcome = 'revoked' | 'unsupported' | 'refused' | 'shared' | 'unreadable' | 'later'

const [intervalMs, failingMs] = [2000, 30_000]
const concurrency = 10
/** How long a disconnect waits for the provider, in milliseconds. */
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

  /** Processes some that are due. Returns whether there may be more. */
  async round(): Promise<boolean> {
    const due = await this.#parts.store.take(concurrency)
    await Promise.all(due.map((each) => this.#revoke(each)))
    return due.length === concurrency
  }

  /** Tries a stored revocation at once. Returns whether the provider confirmed it in time; if not, it is retried. */
  async now(revocation: Revocation): Promise<boolean> {
    const late = pause(waitMs, 'later' as const, { ref: false })
    const outcome = await Promise.race([this.#revoke(revocation).catch((): RevocationOutcome => 'later'), late])
    return outcome === 'revoked'
  }

  /** Revokes the tokens of a connection that no longer exists, or never did. */
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
      log.warn({ provider: revocation.provider, connection: revocation.connectionId }, 'a provider rejects a revocation')
    return outcome
  }

  async #outcome(revocation: Revocation): Promise<RevocationOutcome> {
    const { store, providers, protocol, vault, log } = this.#parts
    const { workspace, connectionId, kind, sealed, legacy } = revocation
    const found = providers.find(revocation.provider)
    // Disabled here, perhaps temporarily.
    if (found === undefined || 'missing' in found) return 'later'
    if (found.provider.revocationEnds === 'account' && (await store.stands(revocation))) return 'shared'
    try {
      const token = vault.open({ workspace, connectionId, kind }, sealed, { legacy })
      return (await protocol.revoke(found.provider, token, kind)) ? 'revoked' : 'unsupported'
    } catch (error) {
      const about = { provider: revocation.provider, connection: connectionId }
      if (error instanceof VaultError) {
        log.error({ ...about, reason: error.reason }, 'a token to revoke cannot be decrypted')
        return 'unreadable'
      }
      if (!(error instanceof ProviderError)) throw error
      const { failure } = error
      // A rejected client says nothing about the token.
      const isFinal = failure.kind === 'refused' && failure.code !== 'invalid_client' && failure.code !== 'unauthorized_client'
      return isFinal ? 'refused' : 'later'
    }
  }
}
