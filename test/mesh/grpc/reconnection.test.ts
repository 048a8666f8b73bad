import { connectivityState } from '@grpc/grpc-js'
import { expect, test } from 'vitest'
import { Reconnection } from '#mesh/grpc/reconnection.ts'

const { CONNECTING, READY, SHUTDOWN, TRANSIENT_FAILURE } = connectivityState

/** A channel whose state changes when it is told, with a clock beside it. */
function start() {
  let [state, nowMs] = [CONNECTING, 0]
  const watchers: (() => void)[] = []
  const reconnection = new Reconnection(
    {
      getConnectivityState: () => state,
      watchConnectivityState: (_state, _deadline, changed) => void watchers.push(() => changed()),
    },
    () => nowMs,
  )
  const become = (next: connectivityState) => {
    state = next
    for (const changed of watchers.splice(0)) changed()
  }
  const before = (signal?: AbortSignal) => reconnection.before(Date.now() + 60_000, signal)
  return { before, become, reconnection, advance: (ms: number) => (nowMs += ms), watched: () => watchers.length }
}

test('a channel that never had a connection makes no call wait', async () => {
  const { before, become } = start()
  expect(await before()).toBe(false)
  become(TRANSIENT_FAILURE)
  expect(await before()).toBe(false)
})

test('calls wait briefly after the last connection was lost, and continue as soon as there is another', async () => {
  const { before, become, advance } = start()
  become(READY)
  expect(await before()).toBe(true)
  advance(3_600_000)
  become(TRANSIENT_FAILURE)
  const waiting = [before(), before()]
  become(CONNECTING)
  become(TRANSIENT_FAILURE)
  waiting.push(before())
  become(READY)
  expect(await Promise.all(waiting)).toEqual([true, true, true])
})

test('no call waits when the last connection was lost longer ago', async () => {
  const { before, become, advance } = start()
  become(READY)
  become(TRANSIENT_FAILURE)
  advance(2000)
  expect(await before()).toBe(false)
  become(READY)
  expect(await before()).toBe(true)
})

test('a call waits no longer than its deadline, and stops when it is cancelled', async () => {
  const { before, become, reconnection } = start()
  become(READY)
  become(TRANSIENT_FAILURE)
  expect(await reconnection.before(Date.now() + 10, undefined)).toBe(false)
  const cancel = new AbortController()
  const waiting = before(cancel.signal)
  cancel.abort()
  await expect(waiting).rejects.toThrow('aborted')
})

test('a closed channel is no longer watched', () => {
  const { become, watched } = start()
  become(READY)
  expect(watched()).toBe(1)
  become(SHUTDOWN)
  expect(watched()).toBe(0)
})
