import { partUrl } from './part.ts'

let databases = 0

/**
 * The Redis of the test run, for reading and writing under keys that no other test file uses (`prefix`). A test that stops, pauses or
 * flushes Redis starts one of its own: deploy/local/redis.ts.
 */
export async function sharedRedis(): Promise<{ url: string; prefix: string }> {
  databases += 1
  return { url: await partUrl('redis'), prefix: `test:${process.pid}:${databases}:` }
}
