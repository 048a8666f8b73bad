/** `node deploy/env-example.ts generate | check`: .env.example lists the variables that the processes and programs of this checkout read. */
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Spec } from '#mesh/config.ts'
import { processVariables } from '#mesh/variables.ts'
import { gatewayVariables } from '../gateway/config.ts'
import { auditVariables, keyVariables, signingVariables } from '../services/access/config.ts'
import { storedVariables } from '../services/oauth/config.ts'
import { envFile } from './env-file.ts'
import { migrationVariables } from './migration-variables.ts'

const root = join(import.meta.dirname, '..')
const file = join(root, '.env.example')

/** Every service, so that a new one needs no line here. */
const services = await Promise.all(
  readdirSync(join(root, 'services'))
    .toSorted()
    .map(async (name) => {
      const { variables } = (await import(`../services/${name}/config.ts`)) as { variables: Spec }
      return { name, variables }
    }),
)

const text = envFile({
  processes: [{ name: 'gateway', variables: gatewayVariables }, ...services].map(({ name, variables }) => ({
    name,
    // As mesh/serve.ts does for a process that it runs.
    variables: { ...processVariables, ...variables },
  })),
  programs: [
    { name: 'relay-access', variables: { ...keyVariables, ...signingVariables }, besideProcess: 'access' },
    { name: 'relay-audit', variables: auditVariables, besideProcess: 'access' },
    { name: 'relay-oauth', variables: storedVariables, besideProcess: 'oauth' },
    { name: 'relay-migrate', variables: migrationVariables },
  ],
})

const [command] = process.argv.slice(2)
if (command === 'generate') writeFileSync(file, text)
else if (command !== 'check') {
  console.error('usage: node deploy/env-example.ts generate | check')
  process.exitCode = 2
} else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
  console.error('.env.example is not what the tables of variables say (run `make generate`)')
  process.exitCode = 1
}
