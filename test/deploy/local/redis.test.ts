import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { startRedis } from '../../../deploy/local/redis.ts'

/** What Redis answers to a command within the time (ms); undefined when nothing. */
function ask(port: number, command: string, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port })
    const end = (response: string | undefined): void => {
      socket.destroy()
      resolve(response)
    }
    socket.setTimeout(timeoutMs, () => end(undefined))
    socket.once('error', reject)
    socket.once('data', (data) => end(data.toString().trim()))
    socket.write(`${command}\r\n`)
  })
}

test('it falls silent and responds again with its data, and after a crash it is empty on the same port', async () => {
  const redis = await startRedis()
  const { port } = redis
  try {
    expect(await ask(port, 'SET a 1', 1000)).toBe('+OK')
    redis.pause()
    expect(await ask(port, 'GET a', 200)).toBeUndefined()
    redis.resume()
    expect(await ask(port, 'EXISTS a', 5000)).toBe(':1')

    await redis.kill()
    await expect(ask(port, 'PING', 1000)).rejects.toThrow(/ECONNREFUSED/)
    await redis.start()
    expect(redis.url).toBe(`redis://127.0.0.1:${port}`)
    expect(await ask(port, 'EXISTS a', 1000)).toBe(':0')
  } finally {
    redis.pause()
    await redis.stop()
  }
  await expect(ask(port, 'PING', 1000)).rejects.toThrow(/ECONNREFUSED/)
})
