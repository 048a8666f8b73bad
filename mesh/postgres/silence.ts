/**
 * A server that disappears without closing its connections, as when a machine or a network fails, is silent on every connection, and each
 * attempt costs a timeout. So one timeout makes all connections suspect that have not answered since, and idle suspect ones are dropped
 * instead of used. A statement that the server itself cancels, because it takes too long, is an answer.
 */
export class Silence<Connection extends object> {
  #times = 0
  /** The last silence after which a connection has answered. */
  readonly #answered = new WeakMap<Connection, number>()

  /** It was opened, or answered. */
  answered(connection: Connection): void {
    this.#answered.set(connection, this.#times)
  }

  /** It did not answer in time. Others that were used before the same silence say nothing about connections opened since. */
  noticed(connection: Connection): void {
    if (!this.isSuspect(connection)) this.#times += 1
  }

  isSuspect(connection: Connection): boolean {
    return (this.#answered.get(connection) ?? 0) < this.#times
  }
}
