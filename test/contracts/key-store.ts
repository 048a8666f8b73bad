/** What every store of keys holds to. */
import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { maxKeys } from '../../services/access/keys/key.ts'
import {
  type Engine,
  added,
  dayMs,
  eventOf,
  freshWorkspace,
  given,
  hourMs,
  newKey,
  revokeIn,
  revokingOf,
  rotationOf,
} from './key-requests.ts'

export function keyStoreContract(name: string, open: () => Promise<Engine>): void {
  describe(`keys in ${name}`, () => {
    let engine: Engine
    let store: Engine['store']
    beforeAll(async () => {
      engine = await open()
      ;({ store } = engine)
    })
    afterAll(() => engine.close())

    const eventIds = async () => (await engine.events()).map(({ eventId }) => eventId)

    test('a key is found as it was added: by its hash, and by its id in its workspace alone', async () => {
      const key = newKey()
      const { hash, lifetimeMs: _, ...rest } = key
      const stored = await added(store, key)
      const never = { expiresAt: undefined, revokedAt: undefined, lastUsedAt: undefined, replaces: undefined, parent: undefined }
      expect(stored).toMatchObject({ ...rest, ...never, status: 'active' })
      expect(await store.findByHash(hash)).toEqual({ ...stored, expiresInMs: undefined })
      expect(await store.find(key.workspace, key.keyId)).toEqual(stored)
      expect(await store.find('another', key.keyId)).toBeUndefined()
      expect(await store.findByHash(randomBytes(32))).toBeUndefined()
      for (const id of [randomUUID(), 'no uuid', '']) expect(await store.find(key.workspace, id)).toBeUndefined()
    })

    test('a key with an end is active until then, and says by the clock of the store how long it has', async () => {
      const key = newKey({ lifetimeMs: hourMs })
      const stored = await added(store, key)
      expect(stored.expiresAt!.getTime() - stored.createdAt.getTime()).toBeLessThan(hourMs + 100)
      const before = (await store.findByHash(key.hash))!
      expect(before.status).toBe('active')
      expect(before.expiresInMs).toBeGreaterThan(hourMs - 60_000)
      expect(before.expiresInMs).toBeLessThanOrEqual(hourMs)
      await engine.advance(hourMs)
      const after = (await store.findByHash(key.hash))!
      expect(after.status).toBe('expired')
      expect(after.expiresInMs).toBeLessThanOrEqual(0)
    })

    test('every change is there together with its event, and what changes nothing has none', async () => {
      const [create, rotate, revoke] = [eventOf('keys.create'), eventOf('keys.rotate'), eventOf('keys.revoke')]
      const key = given(await store.add(newKey(), create))
      await store.rotate(rotationOf(key), rotate)
      await revokeIn(store, key, revoke)
      const told = await engine.events()
      expect(told).toEqual(expect.arrayContaining([create, rotate, revoke]))
      await revokeIn(store, key, eventOf())
      expect(await store.rotate(rotationOf(key), eventOf())).toBe('ended')
      expect(await eventIds()).toHaveLength(told.length)
    })

    test('a change whose event cannot be written is not made', async () => {
      const taken = eventOf()
      const key = given(await store.add(newKey(), taken))
      const refused = newKey()
      await expect(store.add(refused, taken)).rejects.toThrow()
      expect(await store.findByHash(refused.hash)).toBeUndefined()
      const { sequence } = await store.revocationsAfter(0, dayMs)
      await expect(revokeIn(store, key, taken)).rejects.toThrow()
      const rotation = rotationOf(key, 0)
      await expect(store.rotate(rotation, taken)).rejects.toThrow()
      expect(await store.findByHash(rotation.freshHash)).toBeUndefined()
      expect((await store.find(key.workspace, key.keyId))!.status).toBe('active')
      expect((await store.revocationsAfter(sequence, dayMs)).revocations).toEqual([])
    })

    test('a revoked key stays revoked as of the first time', async () => {
      const key = await added(store)
      const revoked = await revokeIn(store, key)
      expect(revoked).toMatchObject({ status: 'revoked', revokedAt: expect.any(Date) })
      const { sequence } = await store.revocationsAfter(0, dayMs)
      expect(await revokeIn(store, key, eventOf())).toEqual(revoked)
      expect((await store.revocationsAfter(sequence, dayMs)).sequence).toBe(sequence)
    })

    test('of many who revoke a key at once one does, and all hear the same', async () => {
      for (let round = 0; round < 5; round += 1) {
        const key = await added(store)
        const { sequence } = await store.revocationsAfter(0, dayMs)
        const before = await eventIds()
        const responses = await Promise.all(Array.from({ length: 20 }, () => revokeIn(store, key, eventOf())))
        expect(new Set(responses.map((response) => response.revokedAt!.getTime())).size).toBe(1)
        expect((await store.revocationsAfter(sequence, dayMs)).revocations).toHaveLength(1)
        expect((await eventIds()).length - before.length).toBe(1)
      }
    })

    test('a missing key, or one of another workspace, is neither revoked nor rotated', async () => {
      const key = await added(store)
      for (const [workspace, keyId] of [
        ['another', key.keyId],
        [key.workspace, randomUUID()],
      ] as const) {
        expect(await store.revoke(revokingOf({ workspace, keyId }), eventOf)).toBeUndefined()
        expect(await store.rotate(rotationOf({ workspace, keyId }), eventOf())).toBeUndefined()
      }
      expect((await store.find(key.workspace, key.keyId))!.status).toBe('active')
    })

    test('a rotated key stays valid for the overlap and then ends; its successor has the same permissions', async () => {
      const first = newKey()
      const key = await added(store, first)
      const rotation = rotationOf(key, hourMs)
      const { fresh, previous } = given(await store.rotate(rotation, eventOf()))
      const { createdAt: _, ...same } = key
      expect(fresh).toMatchObject({ ...same, keyId: rotation.freshId, replaces: key.keyId, createdBy: 'grace', expiresAt: undefined })
      expect(previous).toMatchObject({ keyId: key.keyId, status: 'active', expiresAt: expect.any(Date) })
      expect((await store.findByHash(first.hash))!.expiresInMs).toBeGreaterThan(hourMs - 60_000)
      expect((await store.findByHash(rotation.freshHash))!.keyId).toBe(fresh.keyId)
      await engine.advance(hourMs)
      expect((await store.findByHash(first.hash))!.status).toBe('expired')
      expect((await store.findByHash(rotation.freshHash))!.status).toBe('active')
    })

    test('without an overlap a rotated key ends at once', async () => {
      const key = await added(store)
      const { sequence } = await store.revocationsAfter(0, dayMs)
      const { previous, fresh } = given(await store.rotate(rotationOf(key, 0), eventOf()))
      expect([previous.status, fresh.status]).toEqual(['expired', 'active'])
      const { revocations } = await store.revocationsAfter(sequence, dayMs)
      expect(revocations).toEqual([{ sequence: expect.any(Number), keyId: key.keyId, notAfter: previous.expiresAt }])
    })

    test('a rotation never lengthens a life, and the successor lives as long as the first was made to', async () => {
      const key = await added(store, newKey({ lifetimeMs: hourMs }))
      await engine.advance(hourMs / 2)
      const { previous, fresh } = given(await store.rotate(rotationOf(key, dayMs), eventOf()))
      const half = await store.find(key.workspace, key.keyId)
      expect(previous.expiresAt).toEqual(half!.expiresAt)
      expect(previous.expiresAt!.getTime()).toBeLessThan(fresh.createdAt.getTime() + hourMs / 2 + 1000)
      const lives = ({ createdAt, expiresAt }: typeof fresh) => Math.round((expiresAt!.getTime() - createdAt.getTime()) / 1000)
      expect(lives(fresh)).toBe(hourMs / 1000)
      // Also of a key whose own end was brought forward.
      const { fresh: second } = given(await store.rotate(rotationOf(fresh, 1000), eventOf()))
      const { fresh: third } = given(await store.rotate(rotationOf(fresh, 1000), eventOf()))
      expect([second, third].map(lives)).toEqual([hourMs / 1000, hourMs / 1000])
    })

    test('a key that has ended has no successor', async () => {
      const [revoked, expired] = [await added(store), await added(store, newKey({ lifetimeMs: 1000 }))]
      await revokeIn(store, revoked, eventOf())
      await engine.advance(1000)
      for (const key of [revoked, expired]) expect(await store.rotate(rotationOf(key), eventOf())).toBe('ended')
    })

    test('pages of a workspace, newest first, have every key once, however many are added meanwhile', async () => {
      const workspace = freshWorkspace()
      const made: string[] = []
      for (let index = 0; index < 7; index += 1) {
        made.push((await added(store, newKey({ workspace, actor: index % 2 === 0 ? 'ada' : 'bob' }))).keyId)
      }
      const read = async (actor?: string): Promise<string[]> => {
        const seen: string[] = []
        let after
        do {
          const page = await store.list({ workspace, actor, limit: 3, after })
          expect(page.keys.length).toBeLessThanOrEqual(3)
          seen.push(...page.keys.map(({ keyId }) => keyId))
          after = page.next
          if (actor === undefined && after !== undefined) await added(store, newKey({ workspace, actor: 'late' }))
        } while (after !== undefined)
        return seen
      }
      expect(await read('ada')).toEqual(made.filter((_, index) => index % 2 === 0).toReversed())
      expect(await read('nobody')).toEqual([])
      expect(await read()).toEqual(made.toReversed())
    })

    test('a page that ends with the last key reports that there are no more', async () => {
      const workspace = freshWorkspace()
      for (let index = 0; index < 3; index += 1) await added(store, newKey({ workspace }))
      expect((await store.list({ workspace, limit: 3 })).next).toBeUndefined()
      expect((await store.list({ workspace, limit: 2 })).next).toBeDefined()
    })

    test('when a key was last used moves forward alone, and never beyond now', async () => {
      const [one, other] = [await added(store), await added(store)]
      const minute = (count: number) => new Date(Date.now() - count * 60_000)
      const [earlier, later] = [minute(20), minute(10)]
      await store.noteUsed(
        new Map([
          [one.keyId, later],
          [other.keyId, earlier],
          [randomUUID(), later],
        ]),
      )
      await store.noteUsed(
        new Map([
          [one.keyId, earlier],
          [other.keyId, later],
        ]),
      )
      const used = async (key: typeof one) => (await store.find(key.workspace, key.keyId))!.lastUsedAt
      expect(await used(one)).toEqual(later)
      expect(await used(other)).toEqual(later)
      await store.noteUsed(new Map([[one.keyId, new Date(Date.now() + dayMs)]]))
      expect((await used(one))!.getTime()).toBeLessThan(Date.now() + 60_000)
      await store.noteUsed(new Map())
    })

    test('revocations come in order, later than asked for, and only as old as asked for', async () => {
      const keys = await Promise.all([1, 2, 3].map(() => added(store)))
      const { sequence: start } = await store.revocationsAfter(0, dayMs)
      for (const key of keys) await revokeIn(store, key)
      const all = await store.revocationsAfter(start, dayMs)
      expect(all.revocations.map(({ keyId }) => keyId)).toEqual(keys.map(({ keyId }) => keyId))
      expect(all.sequence).toBe(all.revocations.at(-1)!.sequence)
      expect(await store.revocationsAfter(all.sequence, dayMs)).toEqual({ revocations: [], sequence: all.sequence })
      const [first, ...rest] = all.revocations
      expect(await store.revocationsAfter(first!.sequence, dayMs)).toEqual({ revocations: rest, sequence: all.sequence })
      await engine.advance(hourMs)
      // What is too old to matter is left out, and yet gone past.
      expect(await store.revocationsAfter(start, hourMs)).toEqual({ revocations: [], sequence: all.sequence })
    })

    test('a follower that is ahead of the store gets everything, and the store’s position', async () => {
      const key = await added(store)
      await revokeIn(store, key, eventOf())
      const { revocations, sequence } = await store.revocationsAfter(0, dayMs)
      expect(await store.revocationsAfter(sequence + 1000, dayMs)).toEqual({ revocations, sequence })
    })

    test('a workspace has its most living keys and not one more, though many add at once; ended ones make room', async () => {
      const workspace = freshWorkspace()
      const add = () => store.add(newKey({ workspace, lifetimeMs: dayMs }), eventOf())
      const clients = (count: number) => Promise.all(Array.from({ length: count }, add))
      const before = await eventIds()
      const made = []
      while (made.length < maxKeys - 5) made.push(...(await clients(Math.min(20, maxKeys - 5 - made.length))).map((each) => given(each)))
      const responses = await clients(30)
      expect(responses.filter((each) => each === 'limit')).toHaveLength(25)
      expect((await eventIds()).length - before.length).toBe(maxKeys)
      expect(given(await store.add(newKey(), eventOf())).workspace).toBe('w')

      const [first, second] = made
      expect(await store.rotate(rotationOf(first!, hourMs), eventOf())).toBe('limit')
      // In place of the old key: there is not one more.
      expect(given(await store.rotate(rotationOf(first!, 0), eventOf())).fresh.status).toBe('active')
      expect(await add()).toBe('limit')
      await revokeIn(store, second!)
      expect(given(await add()).status).toBe('active')
      expect(await add()).toBe('limit')
      await engine.advance(dayMs)
      expect(given(await add()).status).toBe('active')
    })
  })
}
