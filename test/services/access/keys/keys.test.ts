import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MeshError } from '#mesh/errors.ts'
import { type NewKey, type StoredKey, keyHash } from '../../../../services/access/keys/key.ts'
import { type KeyCreator, Keys } from '../../../../services/access/keys/keys.ts'
import { roles } from '../../../../services/access/keys/roles.ts'
import type { FoundKey, KeyStore } from '../../../../services/access/keys/store.ts'

const stored = (key: NewKey): FoundKey => ({
  ...key,
  expiresInMs: undefined,
  createdAt: new Date(),
  expiresAt: undefined,
  revokedAt: undefined,
  lastUsedAt: undefined,
  replaces: undefined,
  status: 'active',
})

const maker = (permissions: readonly string[], actor = 'ann'): KeyCreator => ({
  workspace: 'acme',
  actor,
  keyId: 'k',
  requestId: 'r',
  traceId: 't',
  source: '',
  may: (permission) => permissions.includes(permission),
})

/** Keys over a store with the maker's key, which is as wide as they are, and at most one other, which is rotated into itself. */
function keysOver(mine: readonly string[], found?: StoredKey): Keys {
  const store: Partial<KeyStore> = {
    add: async (key) => stored(key),
    find: async (_, keyId) => (keyId === 'k' ? makers(mine) : found && { ...found, expiresInMs: undefined }),
    rotate: async () => ({ fresh: found!, previous: found! }),
  }
  return new Keys({ store: store as KeyStore, env: 'test', hash: keyHash('pepper') })
}

const makers = (permissions: readonly string[]): FoundKey =>
  stored({
    keyId: 'k',
    hash: Buffer.alloc(32),
    workspace: 'acme',
    actor: 'ann',
    name: 'n',
    role: 'admin',
    permissions,
    previewOnly: false,
    allowedSources: [],
    createdBy: 'ann',
    parent: undefined,
    lifetimeMs: undefined,
  })

/** Whether a key with these sees, or makes, runs of its actor. */
const reaches = (permissions: readonly string[]) => permissions.some((each) => each.startsWith('actions:'))

const someOf = <T>(all: readonly T[]) => fc.subarray([...all])
const permissions = someOf(roles.admin)
const wanted = fc.record({
  name: fc.constant('n'),
  role: fc.constantFrom(...Object.keys(roles)),
  scopes: permissions,
  previewOnly: fc.boolean(),
  actor: fc.constantFrom(undefined, 'ann', 'bob'),
  allowedSources: fc.constant([]),
  lifetimeMs: fc.constant(undefined),
})

describe('whoever makes a key', () => {
  test('gets one that can do no more than they, for their own actor unless they administer keys, or none', async () => {
    let made = 0
    await fc.assert(
      fc.asyncProperty(permissions, wanted, async (mine, asked) => {
        try {
          const { key } = await keysOver(mine).create(maker(mine), asked)
          expect(mine).toEqual(expect.arrayContaining([...key.permissions]))
          expect(key.permissions.length).toBeGreaterThan(0)
          if (!mine.includes('keys:admin')) expect(key.actor).toBe('ann')
          if (key.actor !== 'ann' && reaches(key.permissions)) expect(mine).toContain('runs:read_all')
          made += 1
        } catch (error) {
          if (!(error instanceof MeshError)) throw error
          expect(['SCOPE_TOO_WIDE', 'ACTOR_NOT_YOURS', 'INVALID_REQUEST']).toContain(error.reason)
        }
      }),
      { numRuns: 400 },
    )
    expect(made).toBeGreaterThan(10)
  })

  test('is handed a successor only of a key that can do no more than they, and that they may know of', async () => {
    const any = fc.record({ mine: permissions, its: permissions, actor: fc.constantFrom('ann', 'bob') })
    await fc.assert(
      fc.asyncProperty(any, async ({ mine, its, actor }) => {
        const { key } = await keysOver(roles.admin).create(maker(roles.admin, actor), {
          name: 'n',
          role: 'admin',
          scopes: its,
          previewOnly: false,
          actor: undefined,
          allowedSources: [],
          lifetimeMs: undefined,
        })
        const known = actor === 'ann' || mine.includes('keys:admin')
        const covered = key.permissions.every((each) => mine.includes(each))
        const outcome = await keysOver(mine, key)
          .rotate(maker(mine), key.keyId, 0)
          .then(
            () => 'rotated',
            (error: MeshError) => error.reason,
          )
        const seen = actor === 'ann' || !reaches(key.permissions) || mine.includes('runs:read_all')
        expect(outcome).toBe(!known ? 'KEY_NOT_FOUND' : covered && seen ? 'rotated' : 'SCOPE_TOO_WIDE')
      }),
    )
  })

  test('may not see the runs of other actors by a key for them where their own key does not', async () => {
    const narrowed = ['actions:read', 'actions:execute', 'connections:write', 'keys:read', 'keys:write', 'keys:admin']
    const asked = { name: 'n', role: 'admin', previewOnly: false, allowedSources: [], lifetimeMs: undefined }
    const made = (mine: readonly string[], actor: string, scopes: string[]) =>
      keysOver(mine)
        .create(maker(mine), { ...asked, actor, scopes })
        .then(
          ({ key }) => key.actor,
          ({ reason, metadata }: MeshError) => ({ reason, metadata }),
        )
    const refused = { reason: 'SCOPE_TOO_WIDE', metadata: { missing: 'runs:read_all' } }
    for (const scope of ['actions:read', 'actions:execute']) {
      expect(await made(narrowed, 'bob', [scope])).toEqual(refused)
      expect(await made(narrowed, 'ann', [scope])).toBe('ann')
      expect(await made(roles.admin, 'bob', [scope])).toBe('bob')
    }
    expect(await made(narrowed, 'bob', ['connections:write', 'keys:write'])).toBe('bob')
  })
})
