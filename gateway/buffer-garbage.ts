/**
 * Frees the memory of discarded buffers early. V8 collects them when it needs space for objects, or when buffers have grown by more than
 * 64 MB: a process that discards many large bodies holds over 100 MB of dead buffers, in pieces that the allocator then keeps. A minor
 * collection takes one or two milliseconds. bench/README.md has the figures. Without --expose-gc this does nothing.
 */

/** Collecting once per this many discarded bytes costs a few milliseconds per hundred. */
const collectEveryBytes = 8 * 1024 * 1024

export class BufferGarbage {
  #bytes = 0

  /** Call this when the last reference to buffers of so many bytes is gone. */
  add(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes < collectEveryBytes) return
    this.#bytes = 0
    globalThis.gc?.({ type: 'minor' })
  }
}
