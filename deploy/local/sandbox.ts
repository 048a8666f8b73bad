/** The sandbox (deploy/sandbox) in local mode: whether it is needed, and what the mesh must know of it. */
import { join } from 'node:path'
import { clientVariables, providerNames } from '#providers/list.ts'
import { storedSecret } from './state/state-dir.ts'

type SandboxVariables = Readonly<Record<string, string | undefined>>

const clientId = 'relay-sandbox'

/** Whether no client of any real provider is configured. */
export const needsSandbox = (given: SandboxVariables): boolean =>
  providerNames.every((name) => (given[clientVariables(name).id] ?? '') === '')

const secretOf = (folder: string): string => storedSecret(folder, 'sandbox_client_secret')

/** The environment of the sandbox's process. It contains none of the mesh's secrets. */
export function sandboxEnvironment(folder: string, publicUrl: string, given: SandboxVariables): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    RELAY_ENV: 'local',
    LOG_LEVEL: given.LOG_LEVEL ?? 'info',
    PUBLIC_URL: publicUrl,
    SANDBOX_CLIENT_ID: clientId,
    SANDBOX_CLIENT_SECRET: secretOf(folder),
    SANDBOX_TOKENS_FILE: join(folder, 'sandbox-tokens.json'),
    ...(given.SANDBOX_TOKEN_TTL && { SANDBOX_TOKEN_TTL: given.SANDBOX_TOKEN_TTL }),
  }
}

/** The client credentials that the oauth service uses at the sandbox. */
export function sandboxClients(folder: string): Record<string, string> {
  const secret = secretOf(folder)
  const each = providerNames.map(clientVariables)
  return Object.fromEntries(
    each.flatMap((names) => [
      [names.id, clientId],
      [names.secret, secret],
    ]),
  )
}
