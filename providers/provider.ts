/**
 * A provider is one folder with facets. Each process loads only the facet that it needs: oauth loads how accounts are connected, actions
 * loads the API and its actions, the sandbox loads the fake. README.md says how to add a provider.
 */
import type { ApiFacet } from './api.ts'
import type { OAuthFacet } from './oauth.ts'
import type { SandboxFacet } from './sandbox.ts'

export interface Provider<Name extends string = string> {
  /** As in paths, labels and names of variables: lower-case letters and digits. */
  readonly name: Name
  /** For people: `Google`. */
  readonly title: string
  readonly oauth: () => Promise<OAuthFacet>
  readonly api: () => Promise<ApiFacet>
  /** Absent if deploy/sandbox has the fake, around `emulate`. */
  readonly sandbox?: () => Promise<SandboxFacet>
}

/** Keeps the name as a literal type: it labels metrics. */
export const provider = <const Name extends string>(its: Provider<Name>): Provider<Name> => its
