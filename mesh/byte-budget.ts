/**
 * A budget of bytes in flight: in total, and per share. A request that does not fit is rejected at once, because a waiting request would
 * hold its bytes as well. A share is binding: what exceeds it takes space from no other share. Pure.
 */

/** A share of the budget, e.g. that of a workspace. */
export interface BudgetShare {
  readonly name: string
  /** Maximum bytes in flight. Always the same for one name. */
  readonly maxBytes: number
}

export interface ByteBudgetParts {
  /** In total. */
  maxBytes: number
  /** The part of it, in bytes, that is reserved for small requests. */
  reservedBytes?: number
  /** Maximum size of a small request. */
  smallBytes?: number
}

/** The bytes that one request holds, until they are released. */
export interface Reservation {
  /** Changes the bytes, after the body was read or the response is known. Never rejected. */
  resize(bytes: number): void
  /** The same if it fits, and true; otherwise nothing changes. Fewer bytes always fit. */
  tryResize(bytes: number): boolean
  /** Safe to call again. */
  release(): void
}

export class ByteBudget {
  readonly #parts: Required<ByteBudgetParts>
  readonly #byShare = new Map<string, number>()
  #total = 0
  /** The part of the total that lies within the shares. */
  #counted = 0

  constructor(parts: ByteBudgetParts) {
    this.#parts = { reservedBytes: 0, smallBytes: 0, ...parts }
  }

  /** Bytes in flight, including those beyond a share. */
  get total(): number {
    return this.#total
  }

  /**
   * Undefined if the bytes do not fit, in total or in one of the shares. A share with nothing in flight accepts any size. Each share is
   * part of the next: a caller's comes before that of its workspace.
   */
  take(shares: readonly BudgetShare[], bytes: number): Reservation | undefined {
    if (!this.#hasRoom(shares, bytes, 0)) return undefined
    let held = 0
    const resize = (to: number) => {
      this.#add(shares, to - held)
      held = to
    }
    resize(bytes)
    return {
      resize: (to) => held > 0 && resize(Math.max(1, to)),
      tryResize: (to) => {
        if (held > 0 && to > held && !this.#hasRoom(shares, to, held)) return false
        if (held > 0) resize(Math.max(1, to))
        return true
      },
      release: () => resize(0),
    }
  }

  /** Whether a holder of `held` bytes may hold `bytes` instead. */
  #hasRoom(shares: readonly BudgetShare[], bytes: number, held: number): boolean {
    const { maxBytes, reservedBytes, smallBytes } = this.#parts
    const others = this.#counted - held
    if (others > 0 && others + bytes > maxBytes - (bytes > smallBytes ? reservedBytes : 0)) return false
    return shares.every((share) => {
      const its = (this.#byShare.get(share.name) ?? 0) - held
      return its <= 0 || its + bytes <= share.maxBytes
    })
  }

  #add(shares: readonly BudgetShare[], bytes: number): void {
    this.#total += bytes
    let counted = bytes
    for (const { name, maxBytes } of shares) {
      const before = this.#byShare.get(name) ?? 0
      const after = before + counted
      if (after > 0) this.#byShare.set(name, after)
      else this.#byShare.delete(name)
      counted = Math.min(after, maxBytes) - Math.min(before, maxBytes)
    }
    this.#counted += counted
  }
}
