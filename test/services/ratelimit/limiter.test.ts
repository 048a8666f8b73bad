import { describe, expect, test } from 'vitest'
import { RateLimiter } from '../../../services/ratelimit/limiter.ts'
import { Limits } from '../../../services/ratelimit/limits.ts'
import { MemoryStore } from '../../../services/ratelimit/store.memory.ts'

const limits = Limits.parse(
  `
domain: relay
descriptors:
  - { key: workspace, rate_limit: { unit: minute, requests_per_unit: 10 } }
  - { key: action, rate_limit: { unit: minute, requests_per_unit: 4 } }
  - { key: free, rate_limit: { unlimited: true } }
`,
  'limits.yaml',
)
const of = (key: string, value = 'x') => [{ key, value }]
const limiter = () => new RateLimiter({ limits, store: new MemoryStore({ source: 'in_process', now: () => 0 }) })

describe('a decision', () => {
  test('is the least that any of the descriptors grants', async () => {
    const one = limiter()
    const decided = await one.decide('relay', [of('workspace'), of('action'), of('free')], 6)
    expect(decided.granted).toBe(4)
    expect(decided.decisions).toMatchObject([
      { granted: 6, limit: 10, remaining: 6, windowMs: 60_000 },
      { granted: 4, limit: 4, remaining: 0, windowMs: 60_000 },
      undefined,
    ])
  })

  test('grants everything, and asks nobody, where no rule applies', async () => {
    const store = { take: () => Promise.reject(new Error('asked')) }
    const decided = await new RateLimiter({ limits, store }).decide('relay', [of('free'), of('unknown')], 7)
    expect(decided).toEqual({ granted: 7, decisions: [undefined, undefined], source: undefined })
  })

  test('counts equal descriptors once', async () => {
    const one = limiter()
    const decided = await one.decide('relay', [of('action'), of('action')], 3)
    expect(decided.granted).toBe(3)
    expect(decided.decisions).toMatchObject([{ remaining: 1 }, { remaining: 1 }])
  })

  test('keeps workspaces apart', async () => {
    const one = limiter()
    expect((await one.decide('relay', [of('action', 'a')], 4)).granted).toBe(4)
    expect((await one.decide('relay', [of('action', 'b')], 4)).granted).toBe(4)
    expect((await one.decide('relay', [of('action', 'a')], 1)).granted).toBe(0)
  })
})
