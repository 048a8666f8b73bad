/** What every store of the steps of connecting holds to. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hashOf } from '../../services/oauth/connect/reference.ts'
import type { ConnectStore, StepKey } from '../../services/oauth/connect/store.ts'
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
      await store.put(key, content, minuteMs)
      expect(await other.take(key)).toBe(content)
      expect(await other.take(key)).toBeUndefined()
      expect(await store.take(key)).toBeUndefined()
    })

    test('of fifty who take it at once, through both replicas, exactly one gets it', async () => {
      for (let round = 0; round < 5; round += 1) {
        const key = stepKey()
        await store.put(key, `round ${round}`, minuteMs)
        const taken = await Promise.all(Array.from({ length: 50 }, (_, index) => engine.stores[index % 2]!.take(key)))
        expect(taken.filter((content) => content !== undefined)).toEqual([`round ${round}`])
      }
    })

    test('one that has expired is not to be had, and not by trying again', async () => {
      const [key, later] = [stepKey(), stepKey()]
      await store.put(later, 'long', minuteMs)
      await store.put(key, 'short', 1)
      const before = Date.now()
      await until('its millisecond has passed', async () => Date.now() - before > 20)
      expect(await store.take(key)).toBeUndefined()
      expect(await store.take(key)).toBeUndefined()
      expect(await store.take(later)).toBe('long')
    })

    test('it survives that every connection breaks', async () => {
      const key = stepKey()
      await store.put(key, 'patient', minuteMs)
      const fresh = await engine.reconnected()
      expect(await fresh.take(key)).toBe('patient')
    })

    test('workspace, kind and hash are all of the key: none of them wrong takes it, or takes it away', async () => {
      const key = stepKey()
      await store.put(key, 'mine', minuteMs)
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
      await store.put(key, 'odd', minuteMs)
      expect(await store.take({ ...key, workspace: 'a' })).toBeUndefined()
      expect(await store.take({ ...key, workspace: 'a', hash: hashOf('x') })).toBeUndefined()
      expect(await store.take(key)).toBe('odd')
    })

    test('what stands under a key is not replaced', async () => {
      const key = stepKey()
      await store.put(key, 'first', minuteMs)
      await expect(other.put(key, 'second', minuteMs)).rejects.toThrow()
      expect(await store.take(key)).toBe('first')
    })

    test('what was taken leaves nothing behind', async () => {
      const key = stepKey()
      await store.put(key, 'fleeting', minuteMs)
      expect(await engine.everything()).toContain('fleeting')
      await store.take(key)
      expect(await engine.everything()).not.toContain('fleeting')
    })
  })
}
