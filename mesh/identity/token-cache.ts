/** What tokens proved, by token: only so many; the one longest unused gives way. */
export class TokenCache<Proven> {
  readonly #most: number
  readonly #proven = new Map<string, Proven>()

  constructor(most: number) {
    this.#most = most
  }

  get(token: string): Proven | undefined {
    const found = this.#proven.get(token)
    if (found === undefined) return undefined
    // A Map keeps the order of insertion: the first is the one longest unused.
    this.#proven.delete(token)
    this.#proven.set(token, found)
    return found
  }

  set(token: string, proven: Proven): void {
    this.#proven.set(token, proven)
    if (this.#proven.size > this.#most) this.#proven.delete(this.#proven.keys().next().value!)
  }

  delete(token: string): void {
    this.#proven.delete(token)
  }
}
