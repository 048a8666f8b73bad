/**
 * How long a call waits for a connection. A client that loses its last connection may briefly know no replica although one exists, because
 * it has not tried again since that replica returned. So calls wait for the next connection, until a short time after the last one was
 * lost. After that they fail at once, until there is a connection again.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { type ChannelInterface, connectivityState } from '@grpc/grpc-js'

/** Maximum pause between two attempts to connect to one address, in milliseconds. */
export const maxReconnectPauseMs = 500
/** How long after the loss of the last connection calls wait for another, in milliseconds: some attempts, or one look-up of a name. */
const windowMs = 2000

/** The part of a grpc-js channel that is used here. */
export type ConnectivityStates = Pick<ChannelInterface, 'getConnectivityState' | 'watchConnectivityState'>

export class Reconnection {
  readonly #channel: ConnectivityStates
  readonly #now: () => number
  /** When there was last a connection. */
  #lostAtMs = -Infinity
  /** Aborts as soon as there is a connection. */
  #connected = new AbortController()

  /** `now` is a monotonic clock, in milliseconds. */
  constructor(channel: ConnectivityStates, now = () => performance.now()) {
    this.#channel = channel
    this.#now = now
    this.#watch()
  }

  /**
   * Resolves to whether there is a connection: at once if there is one, otherwise when there is one, and at the latest at `deadline` (epoch
   * milliseconds) or when calls no longer wait. Rejects with an AbortError when `signal` aborts.
   */
  async before(deadline: number, signal: AbortSignal | undefined): Promise<boolean> {
    if (this.#state() === connectivityState.READY) return true
    const ms = Math.min(this.#lostAtMs + windowMs - this.#now(), deadline - Date.now())
    if (ms <= 0) return false
    const connected = this.#connected.signal
    const either = signal === undefined ? connected : AbortSignal.any([connected, signal])
    await pause(ms, undefined, { signal: either }).catch((error: unknown) => {
      if (!connected.aborted) throw error
    })
    return connected.aborted
  }

  #state(): connectivityState {
    return this.#channel.getConnectivityState(false)
  }

  #watch(): void {
    const state = this.#state()
    if (state === connectivityState.SHUTDOWN) return
    if (state === connectivityState.READY) this.#connected.abort()
    this.#channel.watchConnectivityState(state, Infinity, () => {
      if (state === connectivityState.READY) {
        this.#lostAtMs = this.#now()
        this.#connected = new AbortController()
      }
      this.#watch()
    })
  }
}
