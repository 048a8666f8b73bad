/** Keeps a process's caller tokens up with access: its feed is read once a second, and at once for a key that was not heard of yet. */
import type { FollowRequest, FollowResponse } from '#gen/relay/access/v1/access.ts'
import { meshErrors } from '../errors.ts'
import { Loop } from '../loop.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { SignatureStates } from '../signature-states.ts'
import { CallerTokens } from './caller-tokens.ts'

/** How often the feed is read, and at the most asked for beside that, in milliseconds. */
const intervalMs = 1000

/** For how long what was read last is believed of an API key that does not come with a token, in milliseconds. */
const maxAgeMs = 60_000

export interface AccessFeedParts {
  /** One round trip to access; rejects in time where it is away. */
  follow: (request: FollowRequest) => Promise<FollowResponse>
  log: Logger
  metrics: Metrics
  /** A clock that never goes back, in milliseconds. */
  now?: () => number
}

/** While access is away nothing changes: known callers go on, new ones cannot be told. */
export class AccessFeed {
  readonly tokens = new CallerTokens({ onUnknownKid: () => this.#ask() })
  readonly signatures = new SignatureStates()
  readonly #follow: AccessFeedParts['follow']
  readonly #now: () => number
  readonly #loop: Loop
  #sequence = 0
  #readAtMs: number
  /** When the last reading began that left nothing to be read. */
  #caughtUpAtMs = -Infinity
  #reading: Promise<boolean> | undefined
  readonly #first = Promise.withResolvers<void>()
  /** Until a reading ends well. */
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
   * Whether an API key stands that began something here earlier. Throws DEPENDENCY_UNAVAILABLE until all revocations have been read, and
   * where that was more than a minute ago: the key may be one of those that were not read.
   */
  keyStands(keyId: string): boolean {
    if (this.#now() - this.#caughtUpAtMs > maxAgeMs) throw meshErrors.DEPENDENCY_UNAVAILABLE()
    return this.tokens.keyStands(keyId)
  }

  /** Resolves when the first reading is over: everything was read that access knew, or access did not answer. */
  get firstReading(): Promise<void> {
    return this.#first.promise
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  /** Rejects where access is away, as far as the last reading could tell. */
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

  /** One reading at a time. True where there is more to be read at once. */
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
    // A moment that cannot be read is past: what was meant is that the key is believed no longer.
    const moments = revocations.map(({ keyId, notAfter }) => ({ keyId, notAfterMs: Date.parse(notAfter) || 0 }))
    // First: who is told by a token may sign.
    const moreSignatures = this.signatures.update(signatures)
    this.tokens.update({ signingKeys, revocations: moments })
    this.#unavailable = false
    this.#readAtMs = this.#now()
    // Access that counts from an earlier number has lost some, or is another: everything is read again.
    const startedOver = sequence < after
    this.#sequence = startedOver ? 0 : sequence
    // An answer with revocations may not have had room for all: only one that brings none is the end.
    const moreRevocations = startedOver || (sequence > after && moments.length > 0)
    if (!moreRevocations) this.#caughtUpAtMs = beganAtMs
    return moreRevocations || moreSignatures
  }
}
