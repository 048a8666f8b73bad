/** Google and Microsoft on this machine, where no client of theirs was given: deploy/sandbox, and what the mesh is told of it. */
import { join } from 'node:path'
import { storedSecret } from './state/state-dir.ts'

type SandboxVariables = Readonly<Record<string, string | undefined>>

const clientId = 'relay-sandbox'

/** Whether there is nothing to reach the real ones with. */
export const needsSandbox = (given: SandboxVariables): boolean =>
  (given.GOOGLE_CLIENT_ID ?? '') === '' && (given.MICROSOFT_CLIENT_ID ?? '') === ''

const secretOf = (folder: string): string => storedSecret(folder, 'sandbox_client_secret')

/** The environment of the sandbox's process: none of the mesh's secrets are in it. */
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

/** What the oauth service is told where there is a sandbox: who it is there. */
export function sandboxClients(folder: string): Record<string, string> {
  const secret = secretOf(folder)
  return { GOOGLE_CLIENT_ID: clientId, GOOGLE_CLIENT_SECRET: secret, MICROSOFT_CLIENT_ID: clientId, MICROSOFT_CLIENT_SECRET: secret }
}
