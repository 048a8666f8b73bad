import { expect, onTestFinished, test } from 'vitest'
import { openRedis } from '#mesh/redis/redis.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { sharedRedis } from '../../setup/redis.ts'

const log = createLogger('tested', 'fatal')

function opened(url: string): () => Promise<string | undefined> {
  const metrics = new Metrics('tested')
  const redis = openRedis({ url: new URL(url), log, metrics, commandMs: 1000 })
  onTestFinished(() => redis.disconnect())
  return async () => /^redis_up\{service="tested"\} (\d)$/m.exec((await metrics.scrape(undefined)).body)?.[1]
}

test('redis_up is 1 once the connection is usable', async () => {
  const up = opened((await sharedRedis()).url)
  await expect.poll(up).toBe('1')
})

test('redis_up is 0 while Redis does not respond', async () => {
  expect(await opened('redis://127.0.0.1:1')()).toBe('0')
})
