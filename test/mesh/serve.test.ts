import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ownContext } from '#mesh/grpc/call.ts'
import { type FakeAccess, startFakeAccess } from '../fakes/identity.ts'
import { type RunningProcess, startProcess } from '../fixtures/mesh/process.ts'
import { type TestClient, connect, failureOf, mesh, requests } from '../fixtures/mesh/server.ts'
import { until } from '../fixtures/mesh/until.ts'

const own = mesh.env('idempotency')
let access: FakeAccess
beforeAll(async () => {
  access = await startFakeAccess(mesh)
})
afterAll(() => access.stop())
const started: RunningProcess[] = []
const clients: TestClient[] = []

const start = (env: Record<string, string> = {}, args: string[] = []): RunningProcess => {
  const good = { ...own, ACCESS_ADDR: access.address, LOG_LEVEL: 'info' }
  const running = startProcess(join(import.meta.dirname, '../fixtures/mesh/main.ts'), { ...good, ...env }, args)
  started.push(running)
  return running
}
/** Calls the process; the workspace says how its handler behaves. */
const caller = async (running: RunningProcess) => {
  const { grpc } = await running.listening()
  const client = connect(grpc)
  clients.push(client)
  return (workspace: string, timeoutMs?: number) =>
    client.idempotency.complete({ ...requests.complete, key: { ...requests.complete.key, workspace } }, ownContext(), {
      attempts: 1,
      ...(timeoutMs !== undefined && { timeoutMs }),
    })
}
afterEach(async () => {
  for (const { channel } of clients.splice(0)) channel.close()
  for (const { child } of started) if (child.exitCode === null) child.kill('SIGKILL')
  await Promise.all(started.splice(0).map(({ ended }) => ended))
})

describe('a process that starts', () => {
  test('prints once where it listens, and is ready there', async () => {
    const running = start()
    const { grpc, admin } = await running.listening()
    expect(running.lines.filter((line) => line['event'] === 'listening')).toHaveLength(1)
    expect([grpc, admin]).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+$/), expect.stringMatching(/^127\.0\.0\.1:\d+$/)])
    expect((await fetch(`http://${admin}/readyz`)).status).toBe(200)
    await (
      await caller(running)
    )('acme')
    running.child.kill('SIGTERM')
    expect(await running.ended).toBe(0)
    expect(running.text.stderr).toBe('')
  })

  test('with --help prints its variables, and exits', async () => {
    const running = start({ MESH_IDENTITY_KEY: '' }, ['--help'])
    expect(await running.ended).toBe(0)
    for (const part of [
      'Relay fixture.',
      'MESH_IDENTITY_KEY',
      'DRAIN_TIMEOUT\n',
      'DRAIN_DELAY\n',
      '(default 0s)',
      'ANSWER\n    A number for the tests (default 42)',
    ]) {
      expect(running.text.stdout).toContain(part)
    }
  })

  test('with a bad configuration prints every problem on stderr, and exits with 78', async () => {
    const unset = { MESH_IDENTITY_KEY: '', ACCESS_ADDR: '' }
    const running = start({ ...unset, MESH_PEERS_FILE: '/nowhere', ANSWER: '101', DRAIN_TIMEOUT: 'soon', GRPC_LISTEN: 'here' })
    expect(await running.ended).toBe(78)
    for (const problem of [
      'MESH_IDENTITY_KEY is not set',
      'ACCESS_ADDR is not set',
      'MESH_PEERS_FILE ENOENT',
      'ANSWER is 101',
      'DRAIN_TIMEOUT is "soon"',
      'GRPC_LISTEN is "here"',
    ]) {
      expect(running.text.stderr).toContain(problem)
    }
    expect(running.text.stdout).toBe('')
  })

  test('with a key that is not its own reports it in the same way', async () => {
    const running = start({ MESH_IDENTITY_KEY: mesh.seedOf('gateway') })
    expect(await running.ended).toBe(78)
    expect(running.text.stderr).toBe('fixture: MESH_PEERS_FILE does not list this key for idempotency\n')
  })

  test('unencrypted in production on an address that others reach, reports it in the same way; with NETWORK_ENCRYPTED=true it serves', async () => {
    const exposed = { RELAY_ENV: 'production', GRPC_LISTEN: '0.0.0.0:0' }
    const running = start(exposed)
    expect(await running.ended).toBe(78)
    expect(running.text.stderr).toMatch(/^fixture: GRPC_LISTEN is 0\.0\.0\.0:0, where access tokens would travel unencrypted: /)
    expect((await start({ ...exposed, NETWORK_ENCRYPTED: 'true' }).listening()).grpc).toMatch(/^0\.0\.0\.0:/)
  })

  test('on a taken port exits with 1 and the reason, after closing what it had opened', async () => {
    const { grpc } = await start().listening()
    const running = start({ GRPC_LISTEN: grpc })
    expect(await running.ended).toBe(1)
    expect(running.lines).toContainEqual(expect.objectContaining({ level: 'fatal', msg: 'could not start' }))
    expect(running.lines.at(-1)).toMatchObject({ msg: 'the first started stopped last' })
  })
})

describe('a process that is stopped', () => {
  test('finishes the calls in progress, accepts no new ones, and exits with 0', async () => {
    const running = start()
    const call = await caller(running)
    const inFlight = call('slow')
    await running.said('begun')
    running.child.kill('SIGTERM')
    // Each on a connection of its own: one that was just lost is waited for.
    await until('new calls are refused', async () => {
      const callAnew = await caller(running)
      // A connection that the kernel still took is never served: it is not waited for.
      return callAnew('acme', 200).then(
        () => false,
        (error) => ['UNAVAILABLE', 'DEADLINE_EXCEEDED'].includes(error.code),
      )
    })
    expect(running.child.exitCode).toBeNull()
    await expect(inFlight).resolves.toEqual({})
    expect(await running.ended).toBe(0)
    expect(running.lines.slice(-2).map((line) => line['msg'])).toEqual(['the first started stopped last', 'stopped'])
  })

  test('reports that it is no longer ready, and serves on for DRAIN_DELAY before it accepts no new calls', async () => {
    const running = start({ DRAIN_DELAY: '2s' })
    const call = await caller(running)
    const { admin } = await running.listening()
    await call('acme')
    running.child.kill('SIGTERM')
    await until('it is not ready', async () => (await fetch(`http://${admin}/readyz`)).status === 503)
    await expect(call('acme')).resolves.toEqual({})
    expect(await running.ended).toBe(0)
  })

  test('waits as long as any call may take if DRAIN_TIMEOUT is unset, and warns at its start if that is shorter', async () => {
    const running = start({ DRAIN_TIMEOUT: '1500ms' })
    // The longest deadline of the contract that it serves.
    expect(await running.said('DRAIN_TIMEOUT is shorter than the longest work may take: the rest is cut at the end')).toMatchObject({
      what: 'calls',
      may_take_ms: 2000,
      drain_ms: 1500,
    })
    const unset = start()
    await unset.listening()
    expect(unset.text.stdout).not.toContain('DRAIN_TIMEOUT is shorter')
  })

  test('cuts a call that does not end within DRAIN_TIMEOUT, and exits with 1', async () => {
    const running = start({ DRAIN_TIMEOUT: '300ms' })
    const call = await caller(running)
    const cut = failureOf(call('endless'))
    await running.said('begun')
    const told = Date.now()
    running.child.kill('SIGTERM')
    expect(await cut).toMatchObject({ code: 'UNAVAILABLE' })
    expect(await running.ended).toBe(1)
    expect(Date.now() - told).toBeLessThan(1300)
    expect(await running.said('did not stop cleanly')).toMatchObject({ what: 'gRPC server' })
  })

  test('tolerates a second signal', async () => {
    const running = start()
    const call = await caller(running)
    const inFlight = call('slow')
    await running.said('begun')
    running.child.kill('SIGINT')
    await running.said('stopping').catch(() => undefined)
    running.child.kill('SIGTERM')
    running.child.kill('SIGINT')
    await expect(inFlight).resolves.toEqual({})
    expect(await running.ended).toBe(0)
    expect(running.lines.filter((line) => line['msg'] === 'stopping')).toHaveLength(1)
  })

  test('stops when its launcher is gone, if it was asked to watch for that', async () => {
    const running = start({ RELAY_PARENT_PIPE: '1' })
    await running.listening()
    running.child.stdin!.end()
    expect(await running.ended).toBe(0)
    expect(running.lines).toContainEqual(expect.objectContaining({ msg: 'stopping', why: 'the launcher is gone' }))
  })

  test('ignores its standard input otherwise', async () => {
    const running = start()
    const call = await caller(running)
    running.child.stdin!.end()
    await call('slow')
    expect(running.child.exitCode).toBeNull()
  })

  test('has written every line before it exits', async () => {
    const running = start()
    await (
      await caller(running)
    )('chatty')
    running.child.kill('SIGTERM')
    expect(await running.ended).toBe(0)
    expect(running.lines.filter((line) => line['msg'] === 'chatter')).toHaveLength(200)
  })
})

describe('a process that fails', () => {
  test.each([
    ['throwing', 'uncaught exception', 'thrown where nobody catches'],
    ['rejecting', 'unhandled rejection', 'rejected where nobody catches'],
  ])('by %s ends with 1 and a fatal line that says why', async (workspace, why, message) => {
    const running = start()
    await (await caller(running))(workspace).catch(() => undefined)
    expect(await running.ended).toBe(1)
    expect(running.lines).toContainEqual(expect.objectContaining({ level: 'fatal', msg: why, err: expect.objectContaining({ message }) }))
  })

  test('cuts calls that would still take long', async () => {
    const running = start({ DRAIN_TIMEOUT: '30s' })
    const call = await caller(running)
    const cut = failureOf(call('endless'))
    await running.said('begun')
    const failed = Date.now()
    await call('throwing').catch(() => undefined)
    expect(await cut).toMatchObject({ code: 'UNAVAILABLE' })
    expect(await running.ended).toBe(1)
    expect(Date.now() - failed).toBeLessThan(5000)
  })
})

test('the output of a process contains none of its secrets', async () => {
  const running = start()
  await (
    await caller(running)
  )('acme')
  running.child.kill('SIGTERM')
  await running.ended
  expect(await running.said('begun')).toMatchObject({ password: '[secret]' })
  for (const value of [own.MESH_IDENTITY_KEY, 'not-so-secret', 'eyJ'])
    expect(running.text.stdout + running.text.stderr).not.toContain(value)
})
