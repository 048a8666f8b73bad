/** Statements by name: every statement of a service is registered here, so that a test can examine the plan of each. */

/** A statement that the server prepares once per connection. The name is unique in the process. */
export interface Statement {
  readonly name: string
  readonly text: string
}

/** All statements of this process, by name. */
export const knownStatements = new Map<string, Statement>()

/** Creates the statements of one store; `prefix` begins their names. */
export const statementMaker =
  (prefix: string) =>
  (name: string, text: string): Statement => {
    const made = { name: `${prefix}${name}`, text }
    knownStatements.set(made.name, made)
    return made
  }
