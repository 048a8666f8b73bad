/** What every store of keys holds to about keys that made others, and about keys that ended long ago. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { NewKey, StoredKey } from '../../services/access/keys/key.ts'
import type { RevokeResult } from '../../services/access/keys/store.ts'
import { type Engine, added, dayMs, eventOf, given, hourMs, newKey, revokeIn, revokingOf, rotationOf } from './key-requests.ts'

export function keyLineageContract(name: string, open: () => Promise<Engine>): void {
  describe(`keys that make keys, in ${name}`, () => {
    let engine: Engine
    let store: Engine['store']
    beforeAll(async () => {
      engine = await open()
      ;({ store } = engine)
    })
    afterAll(() => engine.close())

    const childOf = async (parent: StoredKey, over: Partial<NewKey> = {}) =>
      added(store, newKey({ workspace: parent.workspace, parent: parent.keyId, ...over }))
    const statusOf = async ({ workspace, keyId }: StoredKey) => (await store.find(workspace, keyId))!.status

    test('a key ends with its parent at the latest, whatever life it was given, and so does a successor', async () => {
      const parent = await added(store, newKey({ lifetimeMs: hourMs }))
      const endless = await added(store)
      for (const lifetimeMs of [undefined, dayMs]) expect((await childOf(parent, { lifetimeMs })).expiresAt).toEqual(parent.expiresAt)
      expect((await childOf(parent, { lifetimeMs: 1000 })).expiresAt!.getTime()).toBeLessThan(parent.expiresAt!.getTime())
      const key = await childOf(endless, { lifetimeMs: dayMs })
      const { fresh } = given(await store.rotate({ ...rotationOf(key), parent: parent.keyId }, eventOf()))
      expect(fresh).toMatchObject({ parent: parent.keyId, replaces: key.keyId, expiresAt: parent.expiresAt })
    })

    test('a key that has ended makes none, and has none rotated', async () => {
      const [revoked, expired, other] = [await added(store), await added(store, newKey({ lifetimeMs: 1000 })), await added(store)]
      await revokeIn(store, revoked)
      await engine.advance(1000)
      for (const parent of [revoked, expired]) {
        const child = newKey({ parent: parent.keyId })
        expect(await store.add(child, eventOf())).toBe('parent ended')
        expect(await store.rotate({ ...rotationOf(other), parent: parent.keyId }, eventOf())).toBe('parent ended')
        expect(await store.findByHash(child.hash)).toBeUndefined()
      }
      expect(await store.add(newKey({ workspace: 'another', parent: other.keyId }), eventOf())).toBe('parent ended')
    })

    test('a revocation ends all that descends from the key, through what has ended already, each with its event', async () => {
      const root = await added(store)
      const [child, sister] = [await childOf(root), await childOf(root, { actor: 'bob' })]
      const { fresh: successor } = given(await store.rotate({ ...rotationOf(child), parent: child.keyId }, eventOf()))
      const grandchild = await childOf(sister)
      await store.revoke(revokingOf(sister, { keepChildren: true }), eventOf)
      const stranger = await added(store)
      const { sequence } = await store.revocationsAfter(0, dayMs)
      const events = new Map<string, AuditEvent>()
      const event = (id: string) => events.set(id, eventOf('keys.revoke')).get(id)!
      const { key, children } = given<RevokeResult>(await store.revoke(revokingOf(root), event))
      const ended = [child, successor, grandchild].map(({ keyId }) => keyId)
      expect(key).toMatchObject({ keyId: root.keyId, status: 'revoked' })
      expect(children.toSorted()).toEqual(ended.toSorted())
      for (const each of [root, child, successor, sister, grandchild]) expect(await statusOf(each)).toBe('revoked')
      expect(await statusOf(stranger)).toBe('active')
      const { revocations } = await store.revocationsAfter(sequence, dayMs)
      expect(revocations.map(({ keyId }) => keyId).toSorted()).toEqual([root.keyId, ...ended].toSorted())
      expect([...events.keys()].toSorted()).toEqual([root.keyId, ...ended].toSorted())
      expect(await engine.events()).toEqual(expect.arrayContaining([...events.values()]))
    })

    test('children are kept where that is asked for, and end when their parent is revoked again without', async () => {
      const root = await added(store)
      const child = await childOf(root)
      expect(given<RevokeResult>(await store.revoke(revokingOf(root, { keepChildren: true }), eventOf)).children).toEqual([])
      expect([await statusOf(root), await statusOf(child)]).toEqual(['revoked', 'active'])
      const again = given<RevokeResult>(await store.revoke(revokingOf(root), eventOf))
      expect(again).toMatchObject({ key: { status: 'revoked' }, children: [child.keyId] })
      expect(await statusOf(child)).toBe('revoked')
    })

    test('nothing is revoked where a living descendant is of another actor than may be', async () => {
      const root = await added(store)
      const [child, foreign] = [await childOf(root), await childOf(root, { actor: 'bob' })]
      const own = revokingOf(root, { childrenOf: 'ada' })
      expect(await store.revoke(own, eventOf)).toBe('children of others')
      for (const each of [root, child, foreign]) expect(await statusOf(each)).toBe('active')
      await revokeIn(store, foreign)
      expect(given<RevokeResult>(await store.revoke(own, eventOf)).children).toEqual([child.keyId])
    })

    test('no child outlives a revocation, however many keys of the family make others meanwhile', async () => {
      for (let round = 0; round < 5; round += 1) {
        const root = await added(store)
        const family = [root]
        const make = async (): Promise<void> => {
          for (let count = 0; count < 6; count += 1) {
            const parent = family[Math.floor(count / 2)] ?? root
            const made = await store.add(newKey({ parent: parent.keyId }), eventOf())
            if (typeof made === 'object') family.push(made)
          }
        }
        const making = [make(), make(), make()]
        await store.revoke(revokingOf(root), eventOf)
        await Promise.all(making)
        for (const each of family) expect(await statusOf(each)).toBe('revoked')
      }
    })

    test('keys that ended long ago go with their revocations, after those that they made; what lives, or ended lately, stays', async () => {
      const pruned = async (keptMs = 90 * dayMs) => {
        while ((await store.prune(keptMs)) > 0);
      }
      const [root, living] = [await added(store), await added(store)]
      const child = await childOf(root)
      const kept = await childOf(root)
      await store.revoke(revokingOf(root, { keepChildren: true }), eventOf)
      await revokeIn(store, child)
      const { fresh: successor } = given(await store.rotate(rotationOf(living, 0), eventOf()))
      await pruned(0)
      expect(await statusOf(child)).toBe('revoked')
      await engine.advance(91 * dayMs)
      const late = await added(store)
      await revokeIn(store, late)
      const { sequence } = await store.revocationsAfter(0, 365 * dayMs)
      await pruned()
      for (const { workspace, keyId } of [child, living]) expect(await store.find(workspace, keyId)).toBeUndefined()
      expect(await store.find(successor.workspace, successor.keyId)).toMatchObject({ status: 'active', replaces: living.keyId })
      // Its parent stays for as long as it lives: else revoking that would no longer find it.
      expect([await statusOf(kept), await statusOf(root), await statusOf(late)]).toEqual(['active', 'revoked', 'revoked'])
      expect(given<RevokeResult>(await store.revoke(revokingOf(root), eventOf)).children).toEqual([kept.keyId])
      expect((await store.revocationsAfter(0, 365 * dayMs)).sequence).toBeGreaterThan(sequence)
      await engine.advance(91 * dayMs)
      // The latest revocation stays, and its key.
      await revokeIn(store, await added(store))
      await pruned()
      for (const { workspace, keyId } of [root, kept]) expect(await store.find(workspace, keyId)).toBeUndefined()
      // A follower goes on from where it was.
      const after = await store.revocationsAfter(sequence, dayMs)
      expect(after.sequence).toBeGreaterThan(sequence)
    })
  })
}
