/** The databases that relay-migrate.ts migrates, by service. */
import { optional, secret } from '#mesh/config.ts'
import { withDatabase } from './services.ts'

export const migrationVariable = (service: string): string => `${service.toUpperCase()}_DATABASE_URL`

const variableOf = (service: string) =>
  optional(secret(migrationVariable(service), `The database of ${service}, as the role that owns its tables; left alone if unset`))

type Variables = Record<(typeof withDatabase)[number], ReturnType<typeof variableOf>>

export const migrationVariables = Object.fromEntries(withDatabase.toSorted().map((name) => [name, variableOf(name)])) as Variables
