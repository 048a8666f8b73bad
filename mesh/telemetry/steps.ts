/** Work in steps, reported by events rather than awaited: each step is a span of the current work, until the next begins. */
import { type Scope, currentScope } from './scope.ts'
import { type Attributes, type Span, startSpan } from './tracing.ts'

export class Steps {
  readonly #attributes: Attributes
  readonly #scope: Scope | undefined = currentScope()
  #step: Span | undefined

  /** `attributes`: of every step. */
  constructor(attributes: Attributes) {
    this.#attributes = attributes
  }

  /** Ends the current step, and begins one. */
  next(name: string): void {
    this.#step?.end()
    this.#step = this.#scope && startSpan({ name, kind: 'internal', attributes: this.#attributes }, this.#scope.trace)
  }

  /** Ends the current step, as failed if there is a word for why. */
  end(failed?: string): void {
    if (failed !== undefined) this.#step?.fail(failed)
    this.#step?.end()
    this.#step = undefined
  }
}
