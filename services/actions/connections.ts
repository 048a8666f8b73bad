/** The accounts that people have connected at providers, as actions needs them. The oauth service owns them and their tokens. */
import type { ProviderName } from '#providers/list.ts'
import type { Context } from '#mesh/grpc/call.ts'
import { errors } from './errors.ts'

/** The provider of an account, by name: one of providers/, or of OAUTH_PROVIDERS_FILE. */
export type Provider = ProviderName | (string & {})

/** Each person has at most one connection per provider. */
export interface Owner {
  workspace: string
  actor: string
  provider: Provider
}

/** What an action needs of an account. */
export interface AccountRequirement {
  readonly provider: ProviderName
  /** The scopes that the account must have granted for everything that the action does. */
  readonly scopes: readonly string[]
  /** The preview's warnings about the granted scopes; if absent, one warning for those of `scopes` that are missing. */
  readonly warn?: (granted: readonly string[]) => string[]
}

export interface ConnectedAccount {
  connectionId: string
  /** The account's address or name, from the provider. */
  account: string
  /** The granted scopes. */
  scopes: readonly string[]
  status: 'connected' | 'reauth_required'
  /** Why it must be connected again, in capitals. */
  reason: string | undefined
}

export type ConnectionLookup =
  /** The provider is not configured here: `missing` names the variables. */
  | { configured: false; missing: readonly string[] }
  /** `authorizePath` is where to connect, or reconnect. */
  | { configured: true; connection: ConnectedAccount | undefined; authorizePath: string }

export interface Token {
  /** A secret: it goes only to the provider. */
  accessToken: string
  scopes: readonly string[]
}

/** Failures are MeshErrors: the oauth service's own rejections, or DEPENDENCY_UNAVAILABLE. */
export interface Connections {
  /** What to configure, if no account can act here at all. */
  readonly unavailable?: string
  find(owner: Owner, context: Context): Promise<ConnectionLookup>
  /** A valid token of exactly that connection. `refused` is a token that the provider just answered with 401: it is not returned again. */
  token(owned: Owner & { connectionId: string }, context: Context, refused?: string): Promise<Token>
}

/** For a mesh without oauth service: no account can act. */
export const noConnections: Connections = {
  unavailable: 'Accounts cannot be connected here: set OAUTH_ADDR to the oauth service.',
  async find() {
    return { configured: false, missing: ['OAUTH_ADDR'] }
  },
  async token() {
    throw errors.PROVIDER_NOT_CONFIGURED({ message: noConnections.unavailable! })
  },
}

/** The sentence that names the missing variables. Pure. */
export const notConfigured = (provider: string, missing: readonly string[]): string =>
  `The provider ${provider} is not configured here: set ${missing.join(', ') || 'its variables'}.`

/** Throws PROVIDER_NOT_CONFIGURED, naming the variables. */
export function requireConfigured(provider: Provider, found: ConnectionLookup): asserts found is ConnectionLookup & { configured: true } {
  if (found.configured) return
  throw errors.PROVIDER_NOT_CONFIGURED({ message: notConfigured(provider, found.missing) })
}

/** The preview's warnings about its connection. Pure. */
export function connectionWarnings(
  { provider, scopes, warn }: AccountRequirement,
  { connection, authorizePath }: ConnectionLookup & { configured: true },
): string[] {
  if (connection === undefined) {
    return [
      `No ${provider} account is connected yet: connect one at ${authorizePath}, then preview again. This preview cannot be executed.`,
    ]
  }
  if (connection.status === 'reauth_required')
    return [`The account ${connection.account} must be connected again at ${authorizePath}, before this can be executed.`]
  if (warn !== undefined) return warn(connection.scopes)
  const missing = scopes.filter((scope) => !connection.scopes.includes(scope))
  return missing.length === 0
    ? []
    : [`The account ${connection.account} has not granted ${missing.join(', ')}: connect it again at ${authorizePath}.`]
}

/** Why a preview with that connection cannot be executed now; undefined if it can. Throws PROVIDER_NOT_CONFIGURED. Pure. */
export function connectionRefusal(provider: Provider, previewed: string | undefined, found: ConnectionLookup) {
  requireConfigured(provider, found)
  const { connection } = found
  const metadata = { provider, authorize_path: found.authorizePath }
  if (connection === undefined) return errors.NOT_CONNECTED({ metadata })
  // Also if none was connected then: the preview did not show the sender.
  if (connection.connectionId !== previewed) return errors.CONNECTION_CHANGED({ metadata: { provider } })
  if (connection.status !== 'connected')
    return errors.REAUTH_REQUIRED({ metadata: { ...metadata, ...(connection.reason && { cause: connection.reason }) } })
  return undefined
}
