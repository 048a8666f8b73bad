/** A provider's fake of the sandbox (providers/<name>/sandbox.ts) as an API whose answers go wrong on demand. */
import type { SandboxApi, SandboxFacet } from '#providers/sandbox.ts'
import { type ProviderApi, type Route, startProviderApi } from './provider-api.ts'

export interface FakeProviderApi extends ProviderApi {
  /** Of the fake; `baseUrl` of an action is `<url>/api`. */
  readonly sandbox: SandboxApi
}

/** `create` and `find` are the paths of the two calls that an action makes, below `/api`. */
export async function startSandboxApi(
  facet: SandboxFacet,
  { scopes, create, find }: { scopes: readonly string[]; create: RegExp; find: RegExp },
): Promise<FakeProviderApi> {
  const sandbox = facet.open()
  const { email } = facet.accounts[0]!
  const handle: Route['handle'] = ({ method, path, query, headers, body }) => {
    const url = new URL(`${path}?${query.toString()}`, 'http://127.0.0.1')
    const request = { method, url, headers, body: Buffer.from(body === undefined ? '' : JSON.stringify(body)) }
    const answered = sandbox.answer(request, path, { email, scopes })
    return { status: answered.status, body: JSON.parse(answered.body.toString()) as unknown }
  }
  const routes = [
    { name: 'create', method: 'POST', path: create, handle },
    { name: 'find', method: 'GET', path: find, handle },
  ]
  const problem = (status: number, code: string) => JSON.parse(facet.error(status, code).body.toString()) as unknown
  const api = await startProviderApi({ routes, problem })
  return { ...api, sandbox }
}
