/** API keys of the local mesh, created by the access service's own program. The administrator's key is stored with the other secrets. */
import { keepSecret, knownSecret } from './state-dir.ts'
import type { ProcessExit } from '../processes/node-process.ts'
import { until } from '../processes/process.ts'

/** The permissions of a key; see CreateKeyRequest in proto/relay/access/v1/keys.proto. */
export interface KeyRequest {
  workspace: string
  role: 'viewer' | 'operator' | 'developer' | 'admin'
  actor: string
  name?: string | undefined
  scopes?: readonly string[] | undefined
  previewOnly?: boolean | undefined
  allowedSources?: readonly string[] | undefined
  /** In seconds. */
  expiresIn?: number | undefined
}

/** Runs services/access/relay-access.cli.ts as the access service would: with its database and its secrets. */
export type RelayAccess = (...args: string[]) => Promise<ProcessExit>

function optionsOf(request: KeyRequest): string[] {
  const { workspace, role, actor, name = actor, scopes = [], previewOnly, allowedSources = [], expiresIn } = request
  const options = ['--workspace', workspace, '--role', role, '--actor', actor, '--name', name]
  for (const scope of scopes) options.push('--scope', scope)
  if (previewOnly === true) options.push('--preview-only')
  for (const source of allowedSources) options.push('--allowed-source', source)
  if (expiresIn !== undefined) options.push('--expires-in', String(expiresIn))
  return options
}

/** Creates a key and returns it. Throws with the program's message. */
export async function createKey(relayAccess: RelayAccess, request: KeyRequest): Promise<string> {
  const { code, stdout, stderr } = await relayAccess('create-key', ...optionsOf(request))
  const key = /\brly_[a-z]+_[0-9A-Za-z]{36}\b/.exec(stdout)?.[0]
  if (code !== 0 || key === undefined) throw new Error(`no API key could be created: ${stderr.trim() || `exit code ${code}`}`)
  return key
}

/** The key of the person who runs the mesh on their own machine. */
export interface AdminKey {
  readonly key: string
  /** Whether this start created the key. */
  readonly isNew: boolean
}

async function makeAdminKey(folder: string, relayAccess: RelayAccess): Promise<AdminKey> {
  const key = await createKey(relayAccess, { workspace: 'default', role: 'admin', actor: 'local' })
  keepSecret(folder, 'api_key', key)
  return { key, isNew: true }
}

/** The key of an earlier start, or a new one. */
export async function adminKey(folder: string, relayAccess: RelayAccess): Promise<AdminKey> {
  const key = knownSecret(folder, 'api_key')
  return key === undefined ? makeAdminKey(folder, relayAccess) : { key, isNew: false }
}

/** The stored key if the running mesh accepts it, or a new one: access may have another database now. */
export async function usableAdminKey(kept: AdminKey, folder: string, relayAccess: RelayAccess, gateway: string): Promise<AdminKey> {
  return kept.isNew || (await isLetIn(gateway, kept.key)) ? kept : makeAdminKey(folder, relayAccess)
}

/** Whether a running mesh accepts a key. Throws if it gives no answer within ten seconds. */
async function isLetIn(gateway: string, key: string): Promise<boolean> {
  let status = 0
  const ask = async (): Promise<boolean> => {
    const headers = { authorization: `Bearer ${key}` }
    const signal = AbortSignal.timeout(5000)
    const response = await fetch(`${gateway}/access/keys?page_size=1`, { headers, signal }).catch(() => undefined)
    await response?.body?.cancel()
    status = response?.status ?? 503
    // Right after its start, the gateway may not have data from access yet.
    return status !== 503
  }
  if (!(await until(ask, 10_000, 100))) throw new Error('the gateway cannot tell whether access knows the stored API key; see their logs')
  return status !== 401
}
