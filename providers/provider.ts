/**
 * What a provider is to Relay: one folder. Its facets are loaded by whoever needs them, and nobody else: oauth loads how accounts are
 * connected, actions loads the API and what can be done with it, the sandbox loads the fake. README.md says how to add one.
 */
import type { ApiFacet } from './api.ts'
import type { OAuthFacet } from './oauth.ts'
import type { SandboxFacet } from './sandbox.ts'

export interface Provider<Name extends string = string> {
  /** As in paths, labels and the names of variables: lower-case letters and digits. */
  readonly name: Name
  /** As people read it: `Google`. */
  readonly title: string
  readonly oauth: () => Promise<OAuthFacet>
  readonly api: () => Promise<ApiFacet>
  /** Absent where deploy/sandbox has the fake, around `emulate`. */
  readonly sandbox?: () => Promise<SandboxFacet>
}

/** Keeps the name as a literal type: it labels metrics. */
export const provider = <const Name extends string>(its: Provider<Name>): Provider<Name> => its
