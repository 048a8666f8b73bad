import { expect, test, vi } from 'vitest'
import { Lease, LeaseLost } from '../../../services/actions/lease.ts'
import { RunWatch } from '../../../services/actions/run-watch.ts'
import type { Run } from '../../../services/actions/run.ts'

test('a lease runs out by itself, tells its holder, and is lost for good', async () => {
  let renewals = 0
  const renew = async (): Promise<boolean> => {
    renewals += 1
    throw new Error('cut off')
  }
  const lease = new Lease({ since: performance.now(), leaseMs: 60, renew })
  lease.assertHeld()
  await vi.waitFor(() => expect(lease.signal.aborted).toBe(true))
  expect(() => lease.assertHeld()).toThrow(LeaseLost)
  expect(renewals).toBeGreaterThan(0)
})

test('a lease counts from when it was asked for, not from when the answer came', () => {
  const lease = new Lease({ since: performance.now() - 100, leaseMs: 60, renew: async () => true })
  expect(() => lease.assertHeld()).toThrow(LeaseLost)
})

test('a lease that is somebody else’s is lost at the next heartbeat, before it would have run out', async () => {
  const started = performance.now()
  const lease = new Lease({ since: started, leaseMs: 3000, renew: async () => false })
  await vi.waitFor(() => expect(lease.signal.aborted).toBe(true), { timeout: 2500 })
})

test('a stopped lease beats no more', async () => {
  let renewals = 0
  const first = Promise.withResolvers<void>()
  const lease = new Lease({
    since: performance.now(),
    leaseMs: 30,
    renew: async () => {
      renewals += 1
      first.resolve()
      return true
    },
  })
  await first.promise
  lease.stop()
  const counted = renewals
  const other = new Lease({ since: performance.now(), leaseMs: 90, renew: async () => false })
  await vi.waitFor(() => expect(other.signal.aborted).toBe(true))
  expect(renewals).toBe(counted)
})

const run = (status: Run['status']): Run => ({ runId: 'r1', status }) as Run

test('all who wait for a run share one look', async () => {
  let looks = 0
  let status: Run['status'] = 'executing'
  const watch = new RunWatch(async () => {
    looks += 1
    return run(status)
  })
  const waiting = Array.from({ length: 50 }, () => watch.ended('r1', 5000))
  await vi.waitFor(() => expect(looks).toBeGreaterThan(2))
  expect(looks).toBeLessThan(20)
  status = 'success'
  expect((await Promise.all(waiting)).every((each) => each?.status === 'success')).toBe(true)
})

test('a run that ends here is told at once, without another look', async () => {
  const watch = new RunWatch(async () => run('executing'))
  const waiting = watch.ended('r1', 60_000)
  watch.tell(run('failed'))
  expect((await waiting)?.status).toBe('failed')
})

test('nobody waits longer than asked, and a store that is away is asked again', async () => {
  let looks = 0
  const watch = new RunWatch(async () => {
    looks += 1
    if (looks === 1) throw new Error('away')
    return run('success')
  })
  expect((await watch.ended('r1', 5000))?.status).toBe('success')
  expect(await new RunWatch(async () => undefined).ended('r2', 30)).toBeUndefined()
})
