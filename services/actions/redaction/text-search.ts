/**
 * Searches for many texts at once, in time that grows only with the searched text (Aho and Corasick, 1975). A byte is two steps of four
 * bits, so that the table of a state is small. Pure.
 */
export class TextSearch {
  /** The sixteen next states of a state. */
  readonly #next: Int32Array
  /** The state of the longest other text that is still matching. */
  readonly #fallback: Int32Array
  /** How far a state is within its text, in steps. */
  readonly #depth: Int32Array
  /** The length of the longest text that ends at a state, in bytes. */
  readonly #ends: Int32Array

  constructor(texts: readonly Uint8Array[]) {
    const states = 1 + 2 * texts.reduce((sum, { length }) => sum + length, 0)
    this.#next = new Int32Array(states * 16)
    this.#fallback = new Int32Array(states)
    this.#depth = new Int32Array(states)
    this.#ends = new Int32Array(states)
    let size = 1
    const grow = (state: number, step: number): number => {
      const slot = state * 16 + step
      if (this.#next[slot] === 0) {
        this.#depth[size] = this.#depth[state]! + 1
        this.#next[slot] = size
        size += 1
      }
      return this.#next[slot]!
    }
    for (const text of texts) {
      let state = 0
      for (const byte of text) state = grow(grow(state, byte >> 4), byte & 15)
      this.#ends[state] = text.length
    }
    this.#complete(size)
  }

  /** State by state from the root, shorter ones first: a missing transition is that of the fallback, which is complete by then. */
  #complete(size: number): void {
    const queue = new Int32Array(size)
    let queued = 1
    for (let at = 0; at < queued; at += 1) {
      const state = queue[at]!
      for (let step = 0; step < 16; step += 1) {
        const slot = state * 16 + step
        const otherwise = state === 0 ? 0 : this.#next[this.#fallback[state]! * 16 + step]!
        const child = this.#next[slot]!
        if (child === 0) {
          this.#next[slot] = otherwise
          continue
        }
        this.#fallback[child] = otherwise
        this.#ends[child] ||= this.#ends[otherwise]!
        queue[queued] = child
        queued += 1
      }
    }
  }

  /** Reports the longest text that ends at each position. All have whole bytes, so none begins in the middle of one. */
  find(bytes: Uint8Array, found: (from: number, to: number) => void): void {
    let state = 0
    for (let at = 0; at < bytes.length; at += 1) {
      const byte = bytes[at]!
      state = this.#next[this.#next[state * 16 + (byte >> 4)]! * 16 + (byte & 15)]!
      const length = this.#ends[state]!
      if (length > 0) found(at + 1 - length, at + 1)
    }
    // The searched text may have been cut within a match.
    while (this.#depth[state]! % 2 === 1) state = this.#fallback[state]!
    const begun = this.#depth[state]! / 2
    if (begun > 0) found(bytes.length - begun, bytes.length)
  }
}
