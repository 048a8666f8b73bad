import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { batch } from '#mesh/batch.ts'

/** A `run` that the test ends when it likes. */
function rounds() {
  const begun: { items: readonly number[]; end: () => void; fail: (error: Error) => void }[] = []
  const run = (items: readonly number[]) =>
    new Promise<string[]>((resolve, reject) => begun.push({ items, end: () => resolve(items.map((item) => `done ${item}`)), fail: reject }))
  return { begun, run }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('a batch', () => {
  test('runs calls of one event-loop turn together, and gives each its own result', async () => {
    const { begun, run } = rounds()
    const call = batch(run, { maxBatchSize: 10 })
    const results = Promise.all([call(1), call(2), Promise.resolve().then(() => call(3))])
    await turn()
    expect(begun.map(({ items }) => items)).toEqual([[1, 2, 3]])
    begun[0]!.end()
    expect(await results).toEqual(['done 1', 'done 2', 'done 3'])
  })

  test('runs a single call in the very next turn', async () => {
    const { begun, run } = rounds()
    void batch(run, { maxBatchSize: 10 })(7)
    await turn()
    expect(begun.map(({ items }) => items)).toEqual([[7]])
  })

  test('collects while the maximum number of rounds is running, and continues when one ends', async () => {
    const { begun, run } = rounds()
    const call = batch(run, { maxBatchSize: 3, concurrency: 1 })
    void call(1)
    await turn()
    for (const item of [2, 3, 4, 5]) void call(item)
    await turn()
    expect(begun.map(({ items }) => items)).toEqual([[1]])
    begun[0]!.end()
    await turn()
    expect(begun.map(({ items }) => items)).toEqual([[1], [2, 3, 4]])
    begun[1]!.end()
    await turn()
    expect(begun.map(({ items }) => items)).toEqual([[1], [2, 3, 4], [5]])
  })

  test('gives the error of a round to each of its items, and to no other, and works on', async () => {
    const { begun, run } = rounds()
    const call = batch(run, { maxBatchSize: 2 })
    const calls = [1, 2, 3, 4].map((item) => call(item).catch((error: Error) => error.message))
    await turn()
    begun[0]!.fail(new Error('lost'))
    begun[1]!.end()
    expect(await Promise.all(calls)).toEqual(['lost', 'lost', 'done 3', 'done 4'])
    const next = call(5)
    await turn()
    begun[2]!.end()
    expect(await next).toBe('done 5')
  })

  test('an error thrown before there is a promise reaches the callers too', async () => {
    const call = batch(
      () => {
        throw new Error('at once')
      },
      { maxBatchSize: 2 },
    )
    await expect(call(1)).rejects.toThrow('at once')
  })

  test('fails the round unless there is one result per item', async () => {
    await expect(batch(async () => ['only one'], { maxBatchSize: 5 })(1)).resolves.toBe('only one')
    const call = batch(async () => ['only one'], { maxBatchSize: 5 })
    const failed = await Promise.allSettled([call(1), call(2)])
    expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  })

  test('rejects items that do not fit into the queue, and accepts more once there is space', async () => {
    const { begun, run } = rounds()
    const call = batch(run, { maxBatchSize: 1, concurrency: 1, maxQueueSize: 2 })
    const first = call(0)
    await turn()
    const waiting = [call(1), call(2)]
    await expect(call(3)).rejects.toMatchObject({ reason: 'OVERLOADED' })
    begun[0]!.end()
    await first
    const late = call(4)
    for (let round = 1; round < 4; round += 1) {
      begun[round]!.end()
      await turn()
    }
    expect(await Promise.all([...waiting, late])).toEqual(['done 1', 'done 2', 'done 4'])
  })

  test('whatever arrives whenever: everything runs once, in order, in rounds within the limits', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(5), { maxLength: 30 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.nat(3), { minLength: 1, maxLength: 5 }),
        async (arrivals, max, atOnce, lasts) => {
          const seen: number[] = []
          let inFlight = 0
          let round = 0
          const call = batch(
            async (items: readonly number[]) => {
              inFlight += 1
              expect(inFlight).toBeLessThanOrEqual(atOnce)
              expect(items.length).toBeLessThanOrEqual(max)
              seen.push(...items)
              for (let left = lasts[(round += 1) % lasts.length]!; left > 0; left -= 1) await turn()
              inFlight -= 1
              return items.map((item) => -item)
            },
            { maxBatchSize: max, concurrency: atOnce },
          )
          const calls: Promise<number>[] = []
          for (const count of arrivals) {
            for (let index = 0; index < count; index += 1) calls.push(call(calls.length))
            await turn()
          }
          expect(await Promise.all(calls)).toEqual(calls.map((_, index) => -index))
          expect(seen).toEqual(calls.map((_, index) => index))
        },
      ),
      { numRuns: 100 },
    )
  })
})
