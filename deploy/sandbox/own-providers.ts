/** The providers whose fakes are the sandbox's own, by their facets (providers/<name>/sandbox.ts). */
import { providers } from '#providers/list.ts'
import type { SandboxApi, SandboxFacet } from '#providers/sandbox.ts'
import { bearerOf } from './authorization.ts'
import { Consent } from './consent.ts'
import { accounts, type Client } from './emulators.ts'
import type { SandboxRequest, SandboxResponse } from './http.ts'
import type { IssuedTokens, Provider } from './tokens.ts'

/** A provider whose fake is entirely the sandbox's own. */
export interface OwnProvider {
  readonly provider: Provider
  readonly facet: SandboxFacet
  readonly consent: Consent
  readonly api: SandboxApi
}

export async function openOwn(
  clients: Readonly<Partial<Record<Provider, Client>>>,
  tokens: IssuedTokens,
  now: (() => number) | undefined,
): Promise<OwnProvider[]> {
  const opened = providers.map(async ({ name, title, sandbox }): Promise<OwnProvider | undefined> => {
    const [facet, client] = [await sandbox?.(), clients[name]]
    if (facet === undefined || client === undefined) return undefined
    return { provider: name, facet, consent: new Consent({ provider: name, title, facet, client, tokens, now }), api: facet.open() }
  })
  return (await Promise.all(opened)).filter((each) => each !== undefined)
}

export const ownOf = ({ pathname }: URL, all: readonly OwnProvider[]): OwnProvider | undefined =>
  all.find(({ facet }) => pathname.startsWith(`${facet.path}/`))

export function answerAsOwnProvider(
  { provider, facet, consent, api }: OwnProvider,
  asked: SandboxRequest,
  tokens: IssuedTokens,
): SandboxResponse {
  const path = asked.url.pathname.slice(facet.path.length)
  const shown = consent.answer(asked, path)
  if (shown !== undefined) return shown
  const holder = tokens.holder(bearerOf(asked), provider)
  return holder === undefined ? facet.error(401, 'invalid_auth') : api.answer(asked, path, holder)
}

/** The accounts that a consent page offers, by its URL. */
export const accountsOf = (own: readonly OwnProvider[]) => (page: URL) => {
  const found = ownOf(page, own)
  return found?.facet.accounts ?? accounts[page.pathname.startsWith('/oauth2/v2.0/') ? 'microsoft' : 'google']
}
