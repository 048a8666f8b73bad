/**
 * What tokens proved, by token: only so many. Two generations, so that a look-up changes nothing: what is used goes into the young one, and
 * when that has half of all, it becomes the old one, and what was in the old one and not used since is gone.
 */
export class LruCache<Value> {
  readonly #half: number
  #young = new Map<string, Value>()
  #old = new Map<string, Value>()

  constructor(max: number) {
    this.#half = Math.ceil(max / 2)
  }

  get(token: string): Value | undefined {
    const found = this.#young.get(token)
    if (found !== undefined) return found
    const aged = this.#old.get(token)
    if (aged !== undefined) this.set(token, aged)
    return aged
  }

  set(token: string, proven: Value): void {
    this.#old.delete(token)
    if (this.#young.size >= this.#half && !this.#young.has(token)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(token, proven)
  }

  delete(token: string): void {
    this.#young.delete(token)
    this.#old.delete(token)
  }
}
