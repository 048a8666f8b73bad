/** The databases that relay-migrate.ts migrates, by service. */
import { optional, secret } from '#mesh/config.ts'

const variableOf = (service: string) =>
  optional(
    secret(`${service.toUpperCase()}_DATABASE_URL`, `The database of ${service}, as the role that owns its tables; left alone where unset`),
  )

export const migrationVariables = {
  access: variableOf('access'),
  actions: variableOf('actions'),
  idempotency: variableOf('idempotency'),
  oauth: variableOf('oauth'),
}
