import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { LastUsed } from '../../../../services/access/keys/last-used.ts'
import { until } from '../../../fixtures/mesh/until.ts'

const log = pino({ level: 'silent' })
const at = (ms: number) => new Date(ms)

/** A store that remembers what it was told, and can be away. */
function fakeStore() {
  const told: [string, number][][] = []
  const store = {
    away: false,
    told,
    rounds: 0,
    async noteUsed(uses: ReadonlyMap<string, Date>) {
      store.rounds += 1
      if (store.away) throw new Error('away')
      if (uses.size > 0) told.push([...uses].map(([keyId, date]) => [keyId, date.getTime()]))
    },
  }
  return store
}

describe('when keys were last used', () => {
  test('is written for all of them together, each with its latest', async () => {
    const store = fakeStore()
    const lastUsed = new LastUsed({ store, log })
    for (const [key, ms] of [
      ['a', 5],
      ['b', 7],
      ['a', 9],
      ['b', 3],
    ] as const)
      lastUsed.note(key, at(ms))
    await lastUsed.stop()
    expect(store.told).toEqual([
      [
        ['a', 9],
        ['b', 7],
      ],
    ])
  })

  test('is written every so often, and not again while nothing is noted', async () => {
    const store = fakeStore()
    const lastUsed = new LastUsed({ store, log, intervalMs: 5 })
    lastUsed.start()
    lastUsed.note('a', at(1))
    await until('it was written', () => store.told.length === 1)
    const { rounds } = store
    await until('it came round twice more', () => store.rounds > rounds + 1)
    await lastUsed.stop()
    expect(store.told).toEqual([[['a', 1]]])
  })

  test('waits while the store is away, and what came meanwhile joins it', async () => {
    const store = fakeStore()
    store.away = true
    const lastUsed = new LastUsed({ store, log, intervalMs: 5 })
    lastUsed.note('a', at(1))
    lastUsed.note('b', at(1))
    lastUsed.start()
    await until('it was tried', () => store.rounds > 1)
    lastUsed.note('a', at(2))
    store.away = false
    await until('it was written', () => store.told.length > 0)
    await lastUsed.stop()
    expect(new Map(store.told.flat())).toEqual(
      new Map([
        ['a', 2],
        ['b', 1],
      ]),
    )
  })

  test('takes no more room than it may, and stops though the store stays away', async () => {
    const store = fakeStore()
    const lastUsed = new LastUsed({ store, log, max: 2 })
    for (const [index, key] of ['a', 'b', 'c', 'a'].entries()) lastUsed.note(key, at(index))
    store.away = true
    await lastUsed.stop()
    store.away = false
    await lastUsed.stop()
    expect(store.told).toEqual([
      [
        ['a', 3],
        ['b', 1],
      ],
    ])
  })
})
