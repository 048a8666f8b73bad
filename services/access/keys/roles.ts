/** Roles as named sets of the permissions that the contracts declare, with that of the gateway's metrics, and what a key may do: pure. */

const viewer = ['actions:read', 'connections:read']
const operator = [...viewer, 'actions:preview', 'actions:execute']
const developer = [...operator, 'connections:write', 'keys:read', 'keys:write']
const admin = [...developer, 'keys:admin', 'audit:read', 'runs:read_all', 'runs:settle', 'metrics:read']

export const roles = Object.freeze({ viewer, operator, developer, admin } satisfies Record<string, readonly string[]>)

export type Role = keyof typeof roles

export const isRole = (name: string): name is Role => Object.hasOwn(roles, name)

/** What a key that only prepares may do: somebody else executes. */
const previewing: ReadonlySet<string> = new Set(['actions:read', 'actions:preview'])

export interface Grant {
  readonly role: Role
  /** Narrows the role to these; all of it when empty. */
  readonly scopes: readonly string[]
  readonly previewOnly: boolean
}

/** The permissions of a key, in the role's order: role ∩ scopes ∩ what it may when it only previews. */
export function permissionsOf({ role, scopes, previewOnly }: Grant): string[] {
  return roles[role].filter((each) => (scopes.length === 0 || scopes.includes(each)) && (!previewOnly || previewing.has(each)))
}

/** The places of the scopes that the role does not have. */
export function foreignScopes({ role, scopes }: Pick<Grant, 'role' | 'scopes'>): number[] {
  return scopes.flatMap((scope, index) => (roles[role].some((each) => each === scope) ? [] : [index]))
}
