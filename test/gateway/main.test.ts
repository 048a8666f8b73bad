import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { compileCache } from '../setup/compile-cache.ts'
import { type ActionsStandIn, startActions } from '../fakes/actions-service.ts'
import { type FakeAccess, fakeMesh, startFakeAccess } from '../fakes/identity.ts'
import { apiKey, tester } from './gateway.ts'

const mesh = fakeMesh()
const main = join(import.meta.dirname, '../../gateway/main.ts')

let actions: ActionsStandIn
let access: FakeAccess
let child: ChildProcess | undefined
beforeAll(async () => {
  actions = await startActions(mesh.verifierFor('actions'))
  access = await startFakeAccess(mesh, { keys: new Map([[apiKey, tester]]) })
  return () => Promise.all([actions.stop(), access.stop()])
})
afterEach(() => {
  if (child?.exitCode === null) child.kill('SIGKILL')
})

function start(env: NodeJS.ProcessEnv = {}): ChildProcess {
  const min = {
    ...mesh.env('gateway'),
    RELAY_ENV: 'test',
    UPSTREAMS: `actions=${actions.address},access=${access.address}`,
    HTTP_LISTEN: '127.0.0.1:0',
  }
  child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: compileCache, ...min, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return child
}

async function listening(process: ChildProcess): Promise<{ http: string; admin: string }> {
  for await (const line of createInterface({ input: process.stdout! })) {
    const fields = JSON.parse(line) as { event?: string; http: string; admin: string }
    if (fields.event === 'listening') return fields
  }
  throw new Error('it ended before it listened')
}

describe('the gateway as a process', () => {
  test('serves, reports its address, and exits cleanly on SIGTERM', async () => {
    const process = start()
    const { http, admin } = await listening(process)
    const response = await fetch(`http://${http}/actions`, { headers: { authorization: `Bearer ${apiKey}` } })
    expect(response.status).toBe(200)
    expect((await fetch(`http://${http}/ready`)).status).toBe(200)
    expect((await fetch(`http://${admin}/readyz`)).status).toBe(200)
    // This mesh has no oauth service.
    expect((await fetch(`http://${http}/oauth/start/x`)).status).toBe(501)
    const ended = once(process, 'exit')
    process.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  })

  test('finishes work in progress before it exits', async () => {
    const usual = actions.handlers.listActions
    let finish: (() => void) | undefined
    actions.handlers.listActions = async (request, call) => {
      await new Promise<void>((resolve) => (finish = resolve))
      return usual(request, call)
    }
    const process = start()
    const { http } = await listening(process)
    const response = fetch(`http://${http}/actions`, { headers: { authorization: `Bearer ${apiKey}` } })
    await expect.poll(() => finish).toBeDefined()
    const ended = once(process, 'exit')
    process.kill('SIGTERM')
    await expect
      .poll(() =>
        fetch(`http://${http}/healthz`).then(
          () => 'answered',
          () => 'refused',
        ),
      )
      .toBe('refused')
    finish!()
    expect((await response).status).toBe(200)
    expect(await ended).toEqual([0, null])
    actions.handlers.listActions = usual
  })

  test.each([
    ['in production without origins', { RELAY_ENV: 'production' }, 'CORS_ORIGINS is not set'],
    [
      'in production in plain text beyond loopback',
      { RELAY_ENV: 'production', HTTP_LISTEN: '0.0.0.0:0' },
      'HTTP_LISTEN is 0.0.0.0:0, where API keys',
    ],
    ['without upstreams', { UPSTREAMS: '' }, 'UPSTREAMS is not set'],
    ['with an upstream missing', { UPSTREAMS: 'access=127.0.0.1:1' }, 'UPSTREAMS has no address of it'],
    ['without access', { UPSTREAMS: 'actions=127.0.0.1:1' }, 'UPSTREAMS has no address of access'],
  ])('does not start %s, and says why', async (_what, env, why) => {
    const process = start(env)
    let said = ''
    for (const stream of [process.stdout!, process.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => (said += text))
    const [code] = (await once(process, 'close')) as [number]
    expect(code).not.toBe(0)
    expect(said).toContain(why)
  })
})
