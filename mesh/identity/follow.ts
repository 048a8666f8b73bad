/** Keeps a process's caller tokens up to date with access: reads its feed once per second, and at once for an unknown key. */
import type { FollowRequest, FollowResponse } from '#gen/relay/access/v1/access.ts'
import { meshErrors } from '../errors.ts'
import { Loop } from '../loop.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { SignatureStates } from '../signature-states.ts'
import { CallerTokens } from './caller-tokens.ts'

/** The interval between reads of the feed, and the minimum interval of further requests, in milliseconds. */
const intervalMs = 1000

/** How long the last read is valid for an API key that comes without a token, in milliseconds. */
const maxAgeMs = 60_000

export interface AccessFeedParts {
  /** One round trip to access; rejects in time if it is unavailable. */
  follow: (request: FollowRequest) => Promise<FollowResponse>
  log: Logger
  metrics: Metrics
  /** A monotonic clock, in milliseconds. */
  now?: () => number
}

/** While access is unavailable nothing changes: known callers continue, new ones cannot be verified. */
export class AccessFeed {
  readonly tokens = new CallerTokens({ onUnknownKid: () => this.#ask() })
  readonly signatures = new SignatureStates()
  readonly #follow: AccessFeedParts['follow']
  readonly #now: () => number
  readonly #loop: Loop
  #sequence = 0
  #readAtMs: number
  /** When the last complete read began. */
  #caughtUpAtMs = -Infinity
  #reading: Promise<boolean> | undefined
  readonly #first = Promise.withResolvers<void>()
  /** Until a read succeeds. */
  #unavailable = false
  #askedAtMs = -Infinity

  constructor({ follow, log, metrics, now = () => performance.now() }: AccessFeedParts) {
    this.#follow = follow
    this.#now = now
    this.#readAtMs = now()
    this.#loop = new Loop({ name: 'access feed', intervalMs, log, work: () => this.#read() })
    metrics.gauge('access_feed_age_seconds', 'Time since this process last received keys and revocations from access', [], (gauge) =>
      gauge.set((now() - this.#readAtMs) / 1000),
    )
  }

  /**
   * Whether an API key that began something earlier is still active. Throws DEPENDENCY_UNAVAILABLE until all revocations have been read,
   * and if that was more than a minute ago: the key may be among the unread ones.
   */
  keyStands(keyId: string): boolean {
    if (this.#now() - this.#caughtUpAtMs > maxAgeMs) throw meshErrors.DEPENDENCY_UNAVAILABLE()
    return this.tokens.keyStands(keyId)
  }

  /** Resolves when the first read is over: everything that access knew was read, or access did not respond. */
  get firstReading(): Promise<void> {
    return this.#first.promise
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  /** Rejects if access was unavailable at the last read. */
  async #ask(): Promise<void> {
    if (this.#reading === undefined) {
      if (this.#now() - this.#askedAtMs < intervalMs) {
        if (this.#unavailable) throw meshErrors.DEPENDENCY_UNAVAILABLE()
        return
      }
      this.#askedAtMs = this.#now()
    }
    await this.#read()
  }

  /** One read at a time. True if there is more to read at once. */
  #read(): Promise<boolean> {
    this.#reading ??= this.#readOnce()
      .then(
        (more) => {
          if (!more) this.#first.resolve()
          return more
        },
        (error: unknown) => {
          this.#first.resolve()
          throw error
        },
      )
      .finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #readOnce(): Promise<boolean> {
    const after = this.#sequence
    this.#unavailable = true
    const beganAtMs = this.#now()
    const { signingKeys, revocations, sequence, signatures } = await this.#follow({ after, signaturesAfter: this.signatures.sequence })
    // An unreadable time counts as past: the intention was to end the key.
    const moments = revocations.map(({ keyId, notAfter }) => ({ keyId, notAfterMs: Date.parse(notAfter) || 0 }))
    // First, because a service that a token names may sign.
    const moreSignatures = this.signatures.update(signatures)
    this.tokens.update({ signingKeys, revocations: moments })
    this.#unavailable = false
    this.#readAtMs = this.#now()
    // An access service that counts from a lower number has lost data or is another: everything is read again.
    const startedOver = sequence < after
    this.#sequence = startedOver ? 0 : sequence
    // A response with revocations may not contain all of them: only one without any is the last.
    const moreRevocations = startedOver || (sequence > after && moments.length > 0)
    if (!moreRevocations) this.#caughtUpAtMs = beganAtMs
    return moreRevocations || moreSignatures
  }
}
