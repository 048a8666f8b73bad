import { expect, test } from 'vitest'
import { MemoryStore } from '../../services/ratelimit/store.memory.ts'
import { rateLimitStoreContract } from './ratelimit-store.ts'

const store = new MemoryStore({ source: 'in_process', now: () => performance.now() })
rateLimitStoreContract({ store: () => store, source: 'in_process', prefix: () => '' })

test('a bucket fills evenly: half a minute brings half of the limit', async () => {
  let now = 0
  const bucket = new MemoryStore({ source: 'in_process', now: () => now })
  const counter = { key: 'a', limit: 600, windowMs: 60_000 }
  expect(await bucket.take([counter], 600)).toMatchObject({ granted: 600, capacities: [{ remaining: 0, resetMs: 100 }] })
  now = 30_000
  expect(await bucket.take([counter], 600)).toMatchObject({ granted: 300 })
})
