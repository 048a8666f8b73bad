/**
 * A server that goes away without a word, as when a machine or a network fails, is silent on every connection to it, and each one that is
 * asked costs a time-out. One time-out without an answer therefore makes all connections suspect that have not answered since; those that
 * lie idle are dropped instead of asked. A statement that the server itself ends, since it takes too long, is an answer.
 */
export class Silence<Connection extends object> {
  #times = 0
  /** Up to which silence a connection is known to answer. */
  readonly #answered = new WeakMap<Connection, number>()

  /** It was opened, or answered. */
  answered(connection: Connection): void {
    this.#answered.set(connection, this.#times)
  }

  /** It did not answer in time. Others that were asked before the same silence say nothing new of those that were opened since. */
  noticed(connection: Connection): void {
    if (!this.isSuspect(connection)) this.#times += 1
  }

  isSuspect(connection: Connection): boolean {
    return (this.#answered.get(connection) ?? 0) < this.#times
  }
}
