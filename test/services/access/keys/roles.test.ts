import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { methods } from '#mesh/grpc/descriptors.ts'
import { type Role, foreignScopes, isRole, permissionsOf, roles } from '../../../../services/access/keys/roles.ts'

const names = Object.keys(roles) as Role[]
const role = fc.constantFrom(...names)
const permission = fc.constantFrom(...roles.admin)
const grant = fc.record({ role, scopes: fc.array(fc.oneof(permission, fc.string()), { maxLength: 8 }), previewOnly: fc.boolean() })

describe('roles', () => {
  test('have what the contracts declare, all of it, and what the gateway asks for before its own metrics, and nothing else', () => {
    const ofGateway = 'metrics:read'
    const declared = [...methods.values()].flatMap((method) => [method.permission, method.widenedBy].filter((each) => each !== undefined))
    expect(new Set(roles.admin)).toEqual(new Set([...declared, ofGateway]))
  })

  test('grow: each can do all that the one before it can', () => {
    for (const [index, name] of names.slice(1).entries()) expect(roles[name]).toEqual(expect.arrayContaining([...roles[names[index]!]]))
    expect(new Set(names.map((name) => roles[name].length)).size).toBe(names.length)
  })

  test('may be told only by their names', () => {
    expect(names.every(isRole)).toBe(true)
    for (const other of ['', 'root', 'Admin', 'constructor', '__proto__', 'toString']) expect(isRole(other)).toBe(false)
  })
})

describe('the permissions of a key', () => {
  test('are never more than those of its role, of its scopes, and of previewing where it only previews', () => {
    fc.assert(
      fc.property(grant, (given) => {
        const permissions = permissionsOf(given)
        expect(new Set(permissions).size).toBe(permissions.length)
        for (const each of permissions) {
          expect(roles[given.role]).toContain(each)
          if (given.scopes.length > 0) expect(given.scopes).toContain(each)
          if (given.previewOnly) expect(['actions:read', 'actions:preview']).toContain(each)
        }
      }),
    )
  })

  test('are all of the role where nothing narrows it', () => {
    for (const name of names) expect(permissionsOf({ role: name, scopes: [], previewOnly: false })).toEqual(roles[name])
  })

  test('miss no scope that the role has; a scope that it does not have is told by its place', () => {
    fc.assert(
      fc.property(grant, ({ role: name, scopes }) => {
        const foreign = foreignScopes({ role: name, scopes })
        const permissions = permissionsOf({ role: name, scopes, previewOnly: false })
        for (const [index, scope] of scopes.entries()) expect(permissions.includes(scope)).toBe(!foreign.includes(index))
      }),
    )
  })

  test('let everybody see their connections, and only those who make keys make connections', () => {
    const may = (name: Role, permission: string) => permissionsOf({ role: name, scopes: [], previewOnly: false }).includes(permission)
    expect(names.filter((name) => may(name, 'connections:read'))).toEqual(names)
    expect(names.filter((name) => may(name, 'connections:write'))).toEqual(['developer', 'admin'])
  })

  test('of a key that only previews never let it execute', () => {
    for (const name of names) expect(permissionsOf({ role: name, scopes: [], previewOnly: true })).not.toContain('actions:execute')
  })
})
