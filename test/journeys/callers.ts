/** Callers that preview and execute all the time while things are killed around them, each execute under a key of its own. */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { type Api, type Reply, until } from './journey.ts'

export class Callers {
  readonly #execute: Api['execute']
  readonly #preview: () => Promise<string>
  readonly #calling: Promise<void>[]
  /** What was previewed, by key. */
  readonly #keys = new Map<string, string>()
  #over = false

  /** Starts four. `preview` makes a new preview and resolves to its id. */
  constructor({ execute }: Api, preview: () => Promise<string>) {
    this.#execute = execute
    this.#preview = preview
    this.#calling = Array.from({ length: 4 }, () => this.#call())
  }

  /** Resolves once there is another key than now: they are at work. */
  async another(): Promise<void> {
    const before = this.#keys.size
    await until(
      async () => this.#keys.size,
      (count) => count > before,
    )
  }

  /** Lets them finish what they are at. */
  async stop(): Promise<void> {
    this.#over = true
    await Promise.all(this.#calling)
  }

  /** The end of each key, asked for until it is told. */
  async *ends(): AsyncIterable<Reply> {
    for (const [key, previewId] of this.#keys) {
      const reply = await until(
        () => this.#execute(previewId, key).catch(() => undefined),
        (each) => each?.status === 200,
        60_000,
      )
      yield reply!
    }
  }

  async #call(): Promise<void> {
    while (!this.#over) {
      const key = `k-${randomUUID()}`
      try {
        const previewId = await this.#preview()
        this.#keys.set(key, previewId)
        await this.#execute(previewId, key)
      } catch {
        // Whatever it was: the key is asked about in the end.
        await pause(20)
      }
    }
  }
}
