/**
 * How many bytes a process has under way: bounded in total, and for each who shares it. Who finds no room is refused at once, for whoever
 * waits would hold its bytes all the same. Pure.
 */

/** One of those who share the budget, e.g. a workspace. */
export interface Share {
  readonly name: string
  /** The most that it may have under way, in bytes. */
  readonly maxBytes: number
}

export interface ByteBudgetParts {
  /** In all. */
  maxBytes: number
  /** The part of it, in bytes, that only small requests may take. */
  reservedBytes?: number
  /** Up to this size a request is small. */
  smallBytes?: number
}

/** What one request holds of the budget, until it is released. */
export interface Held {
  /** Its bytes are others by now: its body has been read, or there is an answer. Never refused. */
  resize(bytes: number): void
  /** May be called again. */
  release(): void
}

export class ByteBudget {
  readonly #parts: Required<ByteBudgetParts>
  readonly #byShare = new Map<string, number>()
  #total = 0

  constructor(parts: ByteBudgetParts) {
    this.#parts = { reservedBytes: 0, smallBytes: 0, ...parts }
  }

  /** Bytes under way. */
  get total(): number {
    return this.#total
  }

  /** Undefined where there is no room for so many bytes, in all or in one of the shares. A share that has nothing under way has room. */
  take(shares: readonly Share[], bytes: number): Held | undefined {
    const { maxBytes, reservedBytes, smallBytes } = this.#parts
    if (this.#total > 0 && this.#total + bytes > maxBytes - (bytes > smallBytes ? reservedBytes : 0)) return undefined
    for (const share of shares) {
      const its = this.#byShare.get(share.name) ?? 0
      if (its > 0 && its + bytes > share.maxBytes) return undefined
    }
    let held = 0
    const resize = (to: number) => {
      this.#add(shares, to - held)
      held = to
    }
    resize(bytes)
    return { resize: (to) => held > 0 && resize(Math.max(1, to)), release: () => resize(0) }
  }

  #add(shares: readonly Share[], bytes: number): void {
    this.#total += bytes
    for (const { name } of shares) {
      const its = (this.#byShare.get(name) ?? 0) + bytes
      if (its > 0) this.#byShare.set(name, its)
      else this.#byShare.delete(name)
    }
  }
}
