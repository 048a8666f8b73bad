/**
 * How many bytes a process has under way: bounded in total, and for each who shares it. Who finds no room is refused at once, for whoever
 * waits would hold its bytes all the same. A share is binding: what somebody has beyond it takes room from nobody else. Pure.
 */

/** One of those who share the budget, e.g. a workspace. */
export interface BudgetShare {
  readonly name: string
  /** The most that it may have under way, in bytes. Always the same for one name. */
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
export interface Reservation {
  /** Its bytes are others by now: its body has been read, or there is an answer. Never refused. */
  resize(bytes: number): void
  /** The same where there is room for it, and true; else nothing changes. To hold less there is always room. */
  tryResize(bytes: number): boolean
  /** May be called again. */
  release(): void
}

export class ByteBudget {
  readonly #parts: Required<ByteBudgetParts>
  readonly #byShare = new Map<string, number>()
  #total = 0
  /** Of the total, what lies within the shares of those who hold it. */
  #counted = 0

  constructor(parts: ByteBudgetParts) {
    this.#parts = { reservedBytes: 0, smallBytes: 0, ...parts }
  }

  /** Bytes under way, those beyond a share among them. */
  get total(): number {
    return this.#total
  }

  /**
   * Undefined where there is no room for so many bytes, in all or in one of the shares. A share that has nothing under way has room. Each
   * share is a part of the next: a caller's comes before that of its workspace.
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

  /** Whether somebody who holds so many bytes of the budget already may hold these instead. */
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
