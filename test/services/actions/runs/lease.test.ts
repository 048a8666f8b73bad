import { expect, test, vi } from 'vitest'
import { RunStopped } from '../../../../services/actions/adapter.ts'
import { Lease, LeaseLostError } from '../../../../services/actions/runs/lease.ts'
import { RunWaiter } from '../../../../services/actions/runs/run-waiter.ts'
import type { Run } from '../../../../services/actions/runs/run.ts'

const never = new AbortController().signal

/** A store that a test takes away. */
function storage() {
  const store = { away: false, renewals: 0, renew: async (): Promise<boolean> => true }
  store.renew = async () => {
    store.renewals += 1
    if (store.away) throw new Error('cut off')
    return true
  }
  return store
}

test('a lease is renewed before it expires', async () => {
  const store = storage()
  const lease = new Lease({ since: performance.now(), leaseMs: 600, renew: store.renew })
  await vi.waitFor(() => expect(store.renewals).toBeGreaterThan(3), { timeout: 5000 })
  lease.stop()
})

test('a lease that was not renewed in time is not held until the store has renewed it, and then is', async () => {
  const store = storage()
  store.away = true
  const lease = new Lease({ since: performance.now() - 100, leaseMs: 60, renew: store.renew })
  let held = false
  const waiting = lease.assertHeld(never).then(() => (held = true))
  await vi.waitFor(() => expect(store.renewals).toBeGreaterThan(3))
  expect(held).toBe(false)
  expect(lease.isLost).toBe(false)
  store.away = false
  await waiting
  lease.stop()
})

test('a lease counts from when it was requested, and its owner gives up a tenth of it, because the store’s clock may be faster', async () => {
  const store = storage()
  const renewalsAfter = async (agoMs: number) => {
    store.renewals = 0
    const lease = new Lease({ since: performance.now() - agoMs, leaseMs: 10_000, renew: store.renew })
    await lease.assertHeld(never)
    lease.stop()
    return store.renewals
  }
  expect([await renewalsAfter(8_500), await renewalsAfter(9_500)]).toEqual([0, 1])
})

test('a lease of a machine that slept, whose monotonic clock stopped, is checked before anything is done', async () => {
  const store = storage()
  const lease = new Lease({ since: performance.now(), leaseMs: 10_000, renew: store.renew })
  await lease.assertHeld(never)
  expect(store.renewals).toBe(0)
  const slept = vi.spyOn(Date, 'now').mockImplementation(() => performance.timeOrigin + performance.now() + 60_000)
  await lease.assertHeld(never)
  expect(store.renewals).toBe(1)
  slept.mockRestore()
  lease.stop()
})

test('a lease that another process owns is lost for good at the next renewal, before it would have expired', async () => {
  let mine = false
  const lease = new Lease({ since: performance.now(), leaseMs: 3000, renew: async () => mine })
  await vi.waitFor(() => expect(lease.isLost).toBe(true), { timeout: 2500 })
  mine = true
  await expect(lease.assertHeld(never)).rejects.toThrow(LeaseLostError)
})

test('an owner waits for an unavailable store no longer than its time', async () => {
  const store = storage()
  store.away = true
  const lease = new Lease({ since: performance.now() - 100, leaseMs: 60, renew: store.renew })
  await expect(lease.assertHeld(AbortSignal.timeout(100))).rejects.toThrow(RunStopped)
  lease.stop()
})

test('a stopped lease is renewed no more', async () => {
  const store = storage()
  const lease = new Lease({ since: performance.now(), leaseMs: 30, renew: store.renew })
  await vi.waitFor(() => expect(store.renewals).toBeGreaterThan(0))
  lease.stop()
  const counted = store.renewals
  const other = new Lease({ since: performance.now(), leaseMs: 90, renew: async () => false })
  await vi.waitFor(() => expect(other.isLost).toBe(true))
  expect(store.renewals).toBe(counted)
})

const run = (status: Run['status']): Run => ({ runId: 'r1', status }) as Run

test('all waiters of a run share one poll', async () => {
  let looks = 0
  let status: Run['status'] = 'executing'
  const waiter = new RunWaiter(async () => {
    looks += 1
    return run(status)
  })
  const waiting = Array.from({ length: 50 }, () => waiter.ended('r1', 5000))
  await vi.waitFor(() => expect(looks).toBeGreaterThan(2))
  expect(looks).toBeLessThan(20)
  status = 'success'
  expect((await Promise.all(waiting)).every((each) => each?.status === 'success')).toBe(true)
})

test('a run that ends here is reported at once, without another poll', async () => {
  const waiter = new RunWaiter(async () => run('executing'))
  const waiting = waiter.ended('r1', 60_000)
  waiter.tell(run('failed'))
  expect((await waiting)?.status).toBe('failed')
})

test('no waiter waits longer than requested, and an unavailable store is polled again', async () => {
  let looks = 0
  const waiter = new RunWaiter(async () => {
    looks += 1
    if (looks === 1) throw new Error('away')
    return run('success')
  })
  expect((await waiter.ended('r1', 5000))?.status).toBe('success')
  expect(await new RunWaiter(async () => undefined).ended('r2', 30)).toBeUndefined()
})
