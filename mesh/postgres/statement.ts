/** Statements by name: whatever a service asks of its database is known here, so that a test can look at the plan of each. */

/** A statement that the server prepares once a connection. The name is unique in the process. */
export interface Statement {
  readonly name: string
  readonly text: string
}

/** All that were made in this process, by name: as many as there are in the code. */
export const knownStatements = new Map<string, Statement>()

/** Makes the statements of one store; `prefix` begins their names. */
export const statementMaker =
  (prefix: string) =>
  (name: string, text: string): Statement => {
    const made = { name: `${prefix}${name}`, text }
    knownStatements.set(made.name, made)
    return made
  }
