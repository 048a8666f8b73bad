import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LruCache } from '#mesh/lru-cache.ts'

const steps = fc.array(fc.tuple(fc.constantFrom('get', 'set', 'delete'), fc.integer({ min: 0, max: 30 })), { maxLength: 200 })

describe('a cached value', () => {
  test('is always the last one that was set', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), steps, (max, walk) => {
        const cache = new LruCache<number>(max)
        const said = new Map<string, number>()
        walk.forEach(([step, number], index) => {
          const token = `token ${number}`
          if (step === 'set') {
            cache.set(token, index)
            said.set(token, index)
          } else if (step === 'delete') {
            cache.delete(token)
            said.delete(token)
          } else {
            const found = cache.get(token)
            if (found !== undefined) expect(found).toBe(said.get(token))
          }
        })
      }),
    )
  })

  test('stays within the limit, and survives at least half of it of other entries', () => {
    const cache = new LruCache<number>(10)
    for (let token = 0; token < 100; token += 1) cache.set(`token ${token}`, token)
    const kept = Array.from({ length: 100 }, (_, token) => token).filter((token) => cache.get(`token ${token}`) !== undefined)
    expect(kept.length).toBeLessThanOrEqual(10)
    expect(kept.slice(-5)).toEqual([95, 96, 97, 98, 99])
  })

  test('stays while it is used', () => {
    const cache = new LruCache<string>(10)
    cache.set('used', 'still here')
    for (let token = 0; token < 1000; token += 1) {
      cache.set(`token ${token}`, '')
      expect(cache.get('used')).toBe('still here')
    }
  })
})
