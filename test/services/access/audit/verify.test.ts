import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Entry } from '../../../../services/access/audit/chain.ts'
import { type IntactChain, verifyHead } from '../../../../services/access/audit/verify.ts'
import { anyChain, chain, chained, eventOf, longChain, times, verified, workspace } from './chained.ts'

const at = '2026-02-01T00:00:00.000Z'

/** A chain, and a place in it. */
const chainAndPlace = (min: number, max = (length: number) => length - 1) =>
  anyChain(min).chain((entries) => fc.record({ entries: fc.constant(entries), place: fc.nat({ max: max(entries.length) }) }))

const renumbered = (entries: readonly Entry[]): Entry[] => entries.map((entry, index) => ({ ...entry, sequence: index + 1 }))

const changes: Record<string, (entry: Entry) => Entry> = {
  actor: (entry) => ({ ...entry, actor: `${entry.actor}x` }),
  outcome: (entry) => ({ ...entry, outcome: entry.outcome === 'success' ? 'failed' : 'success' }),
  count: (entry) => ({ ...entry, count: entry.count === 1 ? 2 : 1 }),
  targets: (entry) => ({ ...entry, targets: [...entry.targets, 'run:1'] }),
  'recorded at': (entry) => ({ ...entry, recordedAt: '2026-01-31T12:00:01.001Z' }),
  version: (entry) => ({ ...entry, version: 2 }),
  mac: (entry) => ({ ...entry, mac: Buffer.from(entry.mac).fill(entry.mac[0]! ^ 1, 0, 1) }),
  'no mac': (entry) => ({ ...entry, mac: Buffer.alloc(0) }),
}

describe('verifying a chain', () => {
  test('finds nothing wrong with one that is whole', async () => {
    await fc.assert(
      fc.asyncProperty(anyChain(0), async (entries) => {
        expect(await verified(entries)).toMatchObject({ last: { sequence: entries.length }, start: { sequence: 0 } })
      }),
    )
  })

  test.each(Object.keys(changes))('names the entry that was edited: its %s', async (what) => {
    await fc.assert(
      fc.asyncProperty(chainAndPlace(1), async ({ entries, place }) => {
        const edited = entries.with(place, changes[what]!(entries[place]!))
        expect(await verified(edited)).toMatchObject({ sequence: place + 1, fault: 'edited', eventId: entries[place]!.eventId, workspace })
      }),
    )
  })

  test('names the first sequence that was deleted, and the event after it', async () => {
    await fc.assert(
      fc.asyncProperty(
        chainAndPlace(2, (length) => length - 2),
        fc.integer({ min: 1, max: 3 }),
        async ({ entries, place }, count) => {
          const rest = entries.toSpliced(place, count)
          fc.pre(place < rest.length)
          expect(await verified(rest)).toMatchObject({ sequence: place + 1, fault: 'deleted', eventId: rest[place]!.eventId })
        },
      ),
    )
  })

  test('is not fooled by renumbering what follows a deletion', async () => {
    await fc.assert(
      fc.asyncProperty(
        chainAndPlace(2, (length) => length - 2),
        fc.integer({ min: 1, max: 3 }),
        async ({ entries, place }, count) => {
          const rest = renumbered(entries.toSpliced(place, count))
          fc.pre(place < rest.length)
          // The number of the last one is all that tells, and that was edited.
          const fault = place === rest.length - 1 ? 'edited' : 'deleted'
          expect(await verified(rest)).toMatchObject({ sequence: place + 1, fault, eventId: rest[place]!.eventId })
        },
      ),
    )
  })

  test('names the first of two that changed places, whether or not they kept their numbers', async () => {
    await fc.assert(
      fc.asyncProperty(chainAndPlace(2), fc.nat(), async ({ entries, place }, nat) => {
        const other = nat % entries.length
        fc.pre(other !== place)
        const swapped = renumbered(entries.with(place, entries[other]!).with(other, entries[place]!))
        const first = Math.min(place, other)
        expect(await verified(swapped)).toMatchObject({ sequence: first + 1, fault: 'reordered', eventId: swapped[first]!.eventId })
      }),
    )
  })

  test('names the place from which an entry was moved to the end, and into which one was put', async () => {
    const entries = longChain(6)
    const moved = [...entries.toSpliced(2, 1), { ...entries[2]!, sequence: 9 }]
    expect(await verified(moved)).toMatchObject({ sequence: 3, fault: 'reordered', eventId: entries[3]!.eventId })
    const put = renumbered(entries.toSpliced(2, 0, { ...entries[2]!, actor: 'eve' }))
    expect(await verified(put)).toMatchObject({ sequence: 3, fault: 'reordered' })
    const twice = entries.toSpliced(2, 0, entries[1]!)
    expect(await verified(twice)).toMatchObject({ sequence: 2, fault: 'reordered', eventId: entries[1]!.eventId })
  })

  test('names the first of several faults', async () => {
    const entries = longChain(9)
    const faults = entries.with(6, { ...entries[6]!, actor: 'eve' }).toSpliced(3, 1)
    expect(await verified(faults)).toMatchObject({ sequence: 4, fault: 'deleted' })
  })

  test('rejects an entry that was added without the key', async () => {
    const entries = longChain(3)
    const forged = { ...eventOf(), version: 1, sequence: 4, recordedAt: at, mac: Buffer.alloc(32, 7) }
    expect(await verified([...entries, forged])).toMatchObject({ sequence: 4, fault: 'edited', eventId: forged.eventId })
  })

  test('reports it in one sentence that shows nothing of the stored text unescaped', async () => {
    const entries = longChain(3)
    const found = await verified(entries.with(1, { ...entries[1]!, eventId: 'x\u001B[2J\ny' }))
    expect(found).toMatchObject({
      sentence: 'workspace "acme", sequence 2, event "x\\u001b[2J\\ny": edited: this entry differs from the recorded one',
    })
  })
})

describe('verifying a chain that was cut at a checkpoint', () => {
  const entries = longChain(6)
  const checkpointAt = (sequence: number, from = entries) => chain.state('checkpoint', workspace, from[sequence - 1]!, at)

  test('finds the rest whole, also where nothing is left', async () => {
    const rest = await verified(entries.slice(4), [checkpointAt(2), checkpointAt(4)])
    expect(rest).toMatchObject({ last: { sequence: 6 }, start: { sequence: 4 } })
    expect(await verified([], [checkpointAt(6)])).toMatchObject({ last: { sequence: 6 } })
  })

  test('names what is missing at the checkpoint, or before it', async () => {
    expect(await verified(entries.slice(4))).toMatchObject({ sequence: 1, fault: 'deleted', eventId: entries[4]!.eventId })
    expect(await verified(entries.slice(4), [checkpointAt(2)])).toMatchObject({ sequence: 3, fault: 'deleted' })
  })

  test('names what stands where the checkpoint says that nothing is left', async () => {
    expect(await verified(entries.slice(3), [checkpointAt(4)])).toMatchObject({ sequence: 4, fault: 'reordered' })
  })

  test('takes no checkpoint but from who holds the key, for this workspace and for this purpose', async () => {
    const genuine = checkpointAt(4)
    const forged = [
      { ...genuine, sequence: 5 },
      { ...genuine, mac: entries[4]!.mac },
      { ...genuine, seal: Buffer.alloc(32) },
      chain.state('head', workspace, entries[3]!, at),
      { ...chain.state('checkpoint', 'other', entries[3]!, at), workspace },
    ]
    for (const checkpoint of forged) {
      expect(await verified(entries.slice(4), [checkpoint])).toMatchObject({ fault: 'forged checkpoint', sequence: checkpoint.sequence })
    }
  })

  test('finds entries of another chain behind a genuine checkpoint', async () => {
    expect(await verified(longChain(6).slice(4), [checkpointAt(4)])).toMatchObject({ sequence: 5, fault: 'edited' })
  })
})

describe('a head', () => {
  const headOf = (entry: Entry) => chain.state('head', workspace, entry, at)
  const compare = async (entries: readonly Entry[], head: ReturnType<typeof headOf>) => {
    const whole = (await verified(entries)) as IntactChain
    return verifyHead(chain, head, whole, entries.find(({ sequence }) => sequence === head.sequence)?.mac)
  }

  test('agrees with every chain that has grown from it, and with no chain that is shorter', async () => {
    await fc.assert(
      fc.asyncProperty(chainAndPlace(1), fc.nat({ max: 20 }), async ({ entries, place }, left) => {
        const head = headOf(entries[place]!)
        const rest = entries.slice(0, left)
        const found = await compare(rest, head)
        if (left > place) expect(found).toBeUndefined()
        else expect(found).toMatchObject({ fault: 'cut from the end', sequence: left + 1, eventId: rest.at(-1)?.eventId })
      }),
    )
  })

  test('shows that an end was cut off and others were written in its place', async () => {
    const entries = longChain(6)
    const regrown = [
      ...entries.slice(0, 3),
      ...chained(
        times(5, () => eventOf()),
        entries[2],
      ),
    ]
    expect('fault' in (await verified(regrown))).toBe(false)
    expect(await compare(regrown, headOf(entries[5]!))).toMatchObject({ fault: 'cut from the end', sequence: 6 })
    expect(await compare(regrown, headOf(entries[2]!))).toBeUndefined()
  })

  test('is found to be forged, whatever the chain', async () => {
    const entries = longChain(3)
    expect(await compare(entries, { ...headOf(entries[2]!), sequence: 2 })).toMatchObject({ fault: 'forged head', sequence: 2 })
    expect(await compare(entries, { ...headOf(entries[2]!), sequence: Number.NaN })).toMatchObject({ fault: 'forged head' })
  })

  test('says of what retention cut no more than where it was cut', async () => {
    const entries = longChain(6)
    const checkpoint = chain.state('checkpoint', workspace, entries[3]!, at)
    const whole = (await verified(entries.slice(4), [checkpoint])) as IntactChain
    expect(verifyHead(chain, headOf(entries[1]!), whole, undefined)).toBeUndefined()
    expect(verifyHead(chain, headOf(entries[3]!), whole, undefined)).toBeUndefined()
    expect(verifyHead(chain, headOf(longChain(4)[3]!), whole, undefined)).toMatchObject({ fault: 'cut from the end', sequence: 4 })
  })
})
