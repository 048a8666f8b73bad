/** Work that goes step by step, told by events rather than awaited: each step is a span of the work under way, until the next begins. */
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

  /** Ends the step under way, and begins one. */
  next(name: string): void {
    this.#step?.end()
    this.#step = this.#scope && startSpan({ name, kind: 'internal', attributes: this.#attributes }, this.#scope.trace)
  }

  /** Ends the step under way, as failed where there is a word for why. */
  end(failed?: string): void {
    if (failed !== undefined) this.#step?.fail(failed)
    this.#step?.end()
    this.#step = undefined
  }
}
