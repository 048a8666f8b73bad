/** What every store of the steps of connecting holds to. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hashOf } from '../../services/oauth/connect/state-token.ts'
import { type ConnectStore, type PutStep, type StepKey, maxSteps } from '../../services/oauth/connect/store.ts'
import { until } from '../fixtures/mesh/until.ts'

export interface ConnectEngine {
  /** Two replicas, each with connections of its own. */
  readonly stores: readonly [ConnectStore, ConnectStore]
  /** Breaks every connection and opens new ones: a replica that was started again. */
  reconnected(): Promise<ConnectStore>
  /** All that is kept, as text. */
  everything(): Promise<string>
  close(): Promise<void>
}

const minuteMs = 60_000
const stepKey = (over: Partial<StepKey> = {}): StepKey => ({
  kind: 'state',
  workspace: `acme-${randomBytes(4).toString('hex')}`,
  hash: hashOf(randomBytes(32).toString('hex')),
  ...over,
})

const stepOf = (key: StepKey, content: string, lifetimeMs = minuteMs): PutStep => ({ ...key, actor: 'ann', content, lifetimeMs })

export function connectStoreContract(name: string, open: () => Promise<ConnectEngine>): void {
  describe(`steps of connecting in ${name}`, () => {
    let engine: ConnectEngine
    let store: ConnectStore
    let other: ConnectStore
    beforeAll(async () => {
      engine = await open()
      ;[store, other] = engine.stores
    })
    afterAll(() => engine.close())

    test('what one replica puts another takes, as it was, and only once', async () => {
      const key = stepKey()
      const content = JSON.stringify({ text: 'ü "quoted" \u2028 end' })
      await store.put(stepOf(key, content))
      expect(await other.take(key)).toBe(content)
      expect(await other.take(key)).toBeUndefined()
      expect(await store.take(key)).toBeUndefined()
    })

    test('looking leaves it where it is, for whichever replica', async () => {
      const key = stepKey()
      await store.put(stepOf(key, 'seen'))
      for (const each of [store, other, store]) expect(await each.find(key)).toBe('seen')
      expect(await other.find({ ...key, kind: 'ticket' })).toBeUndefined()
      expect(await other.take(key)).toBe('seen')
      expect(await store.find(key)).toBeUndefined()
      await store.put(stepOf(key, 'short', 1))
      await until('it has ended', async () => (await store.find(key)) === undefined)
    })

    test('one actor has a limited number: a further one takes the place of the oldest, and no other actor loses any', async () => {
      const { workspace } = stepKey()
      const others = stepKey({ workspace })
      await store.put({ ...stepOf(others, 'of bob', minuteMs / 2), actor: 'bob' })
      const keys = Array.from({ length: maxSteps + 5 }, (_, index) => stepKey({ workspace, kind: index % 2 === 0 ? 'ticket' : 'state' }))
      for (const [index, key] of keys.entries())
        await (index % 3 === 0 ? store : other).put(stepOf(key, `step ${index}`, minuteMs + index * 1000))
      const left = await Promise.all(keys.map((key) => store.find(key)))
      expect(left.map((content) => content !== undefined)).toEqual(keys.map((_, index) => index >= 5))
      expect(await store.find(others)).toBe('of bob')
    })

    test('of fifty who take it at once, through both replicas, exactly one gets it', async () => {
      for (let round = 0; round < 5; round += 1) {
        const key = stepKey()
        await store.put(stepOf(key, `round ${round}`))
        const taken = await Promise.all(Array.from({ length: 50 }, (_, index) => engine.stores[index % 2]!.take(key)))
        expect(taken.filter((content) => content !== undefined)).toEqual([`round ${round}`])
      }
    })

    test('one that has expired is not to be had, and not by trying again', async () => {
      const [key, later] = [stepKey(), stepKey()]
      await store.put(stepOf(later, 'long'))
      await store.put(stepOf(key, 'short', 1))
      const before = Date.now()
      await until('its millisecond has passed', async () => Date.now() - before > 20)
      expect(await store.take(key)).toBeUndefined()
      expect(await store.take(key)).toBeUndefined()
      expect(await store.take(later)).toBe('long')
    })

    test('one that ends as it is put is not found, and putting it does not fail', async () => {
      const key = stepKey()
      await store.put(stepOf(key, 'over', 0))
      await until('it has ended', async () => (await store.find(key)) === undefined)
      expect(await store.take(key)).toBeUndefined()
    })

    test('it survives that every connection breaks', async () => {
      const key = stepKey()
      await store.put(stepOf(key, 'patient'))
      const fresh = await engine.reconnected()
      expect(await fresh.take(key)).toBe('patient')
    })

    test('workspace, kind and hash are all of the key: none of them wrong takes it, or takes it away', async () => {
      const key = stepKey()
      await store.put(stepOf(key, 'mine'))
      const others = [
        { ...key, workspace: `${key.workspace}x` },
        { ...key, workspace: key.workspace.toUpperCase() },
        { ...key, kind: 'ticket' as const },
        { ...key, hash: hashOf('another') },
      ]
      for (const wrong of others) expect(await store.take(wrong)).toBeUndefined()
      expect(await store.take(key)).toBe('mine')
    })

    test('no name of a workspace passes for another with a part of a key in it', async () => {
      const key = stepKey({ workspace: `a:${hashOf('x')}` })
      await store.put(stepOf(key, 'odd'))
      expect(await store.take({ ...key, workspace: 'a' })).toBeUndefined()
      expect(await store.take({ ...key, workspace: 'a', hash: hashOf('x') })).toBeUndefined()
      expect(await store.take(key)).toBe('odd')
    })

    test('what stands under a key is not replaced', async () => {
      const key = stepKey()
      await store.put(stepOf(key, 'first'))
      await expect(other.put(stepOf(key, 'second'))).rejects.toThrow()
      expect(await store.take(key)).toBe('first')
    })

    test('a taken step leaves nothing behind', async () => {
      const key = stepKey()
      await store.put(stepOf(key, 'fleeting'))
      expect(await engine.everything()).toContain('fleeting')
      await store.take(key)
      expect(await engine.everything()).not.toContain('fleeting')
    })
  })
}
