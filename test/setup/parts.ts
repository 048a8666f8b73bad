/**
 * The real Postgres and the real Redis of a test run: one of each, started when the first test asks for it. Tests run in processes of
 * their own, so they ask over HTTP; test/setup/database.ts and test/setup/redis.ts do that for them.
 */
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { startPostgres, type Postgres } from '../../deploy/local/postgres/server.ts'
import { startRedis, type Redis } from '../../deploy/local/redis.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    parts: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  let folder: string | undefined
  let postgres: Promise<Postgres> | undefined
  let redis: Promise<Redis> | undefined

  // Also for a run that is interrupted; Postgres then ends by its guard, perhaps while this is going on.
  const forget = (): void => {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }

  const parts: Record<string, () => Promise<string>> = {
    '/postgres': async () => {
      if (folder === undefined) {
        folder = mkdtempSync(join(tmpdir(), 'relay-test-'))
        // Under root Postgres has another account, which must get in.
        chmodSync(folder, 0o755)
        process.once('exit', forget)
      }
      postgres ??= startPostgres({ folder, durable: false })
      return (await postgres).adminUrl
    },
    '/redis': async () => {
      redis ??= startRedis()
      return (await redis).url
    },
  }
  const server = createServer((request, response) => {
    const part = parts[request.url ?? '']
    const answer = part === undefined ? Promise.reject(new Error(`there is no ${request.url}`)) : part()
    answer.then(
      (url) => response.end(url),
      (error: unknown) => response.writeHead(500).end(error instanceof Error ? error.message : String(error)),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  project.provide('parts', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)

  return async () => {
    server.close()
    server.closeAllConnections()
    const running = await postgres?.catch(() => undefined)
    await Promise.all([running?.stop(), redis?.then((each) => each.stop()).catch(() => undefined)])
    if (running !== undefined) rmSync(running.data, { recursive: true, force: true })
    forget()
  }
}
