/**
 * Roles as named sets of the permissions that the contracts declare, plus that of the gateway's metrics, and the permissions of a key.
 * Pure.
 */

const viewer = ['actions:read', 'connections:read']
const operator = [...viewer, 'actions:preview', 'actions:execute']
const developer = [...operator, 'connections:write', 'keys:read', 'keys:write']
const admin = [...developer, 'keys:admin', 'audit:read', 'runs:read_all', 'runs:settle', 'metrics:read']

export const roles = Object.freeze({ viewer, operator, developer, admin } satisfies Record<string, readonly string[]>)

export type Role = keyof typeof roles

export const isRole = (name: string): name is Role => Object.hasOwn(roles, name)

/** The permissions of a preview-only key, which cannot execute. */
const previewing: ReadonlySet<string> = new Set(['actions:read', 'actions:preview'])

export interface Grant {
  readonly role: Role
  /** Narrows the role to these; the whole role if empty. */
  readonly scopes: readonly string[]
  readonly previewOnly: boolean
}

/** The permissions of a key, in the role's order: role ∩ scopes ∩ those of a preview-only key, if it is one. */
export function permissionsOf({ role, scopes, previewOnly }: Grant): string[] {
  return roles[role].filter((each) => (scopes.length === 0 || scopes.includes(each)) && (!previewOnly || previewing.has(each)))
}

/** The indexes of the scopes that the role does not have. */
export function foreignScopes({ role, scopes }: Pick<Grant, 'role' | 'scopes'>): number[] {
  return scopes.flatMap((scope, index) => (roles[role].some((each) => each === scope) ? [] : [index]))
}
