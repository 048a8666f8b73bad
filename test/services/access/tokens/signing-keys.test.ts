import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Signing,
  believedMs,
  isDue,
  leadMs,
  longestTokenMs,
  publishedOf,
  signerOf,
  signersToCome,
  signsFromOf,
} from '../../../../services/access/tokens/signing-keys.ts'

const lifeMs = 3_600_000
const kids = (keys: readonly Signing[]) => keys.map(({ kid }) => kid)

/** What two replicas and an operator do one after the other, and how much time passes before each. */
const step = fc.record({
  afterMs: fc.oneof(
    fc.constantFrom(0, 1, leadMs - 2, leadMs - 1, leadMs, longestTokenMs),
    fc.nat(leadMs),
    fc.nat(2 * believedMs),
    fc.nat(lifeMs),
  ),
  what: fc.constantFrom('read', 'keep up', 'sign', 'sign', 'sign', 'rotate'),
  replica: fc.nat(1),
})

interface World {
  now: number
  keys: readonly Signing[]
  made: Map<string, { at: number; first: boolean }>
}

/** As a replica does it under the lock. */
function turn(world: World, asked: boolean): void {
  const { keys, now } = world
  const published = publishedOf(keys, now)
  if (asked || isDue(keys, now, lifeMs)) {
    const kid = `key ${world.made.size}`
    world.made.set(kid, { at: now, first: keys.length === 0 })
    world.keys = [...published, { kid, signsFrom: signsFromOf(keys, now) }]
  } else world.keys = published
}

describe('the life of signing keys, whatever replicas and operators do', () => {
  test('nothing is signed with a key that verifiers had no time to hear of, and none goes while a token of it lives', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 100, maxLength: 100 }), (steps) => {
        const world: World = { now: 1_000_000, keys: [], made: new Map() }
        const views: { keys: readonly Signing[]; at: number }[] = [0, 1].map(() => ({ keys: [], at: -Infinity }))
        let living: { kid: string; endsAt: number }[] = []
        for (const { afterMs, what, replica } of steps) {
          world.now += afterMs
          if (what === 'rotate') turn(world, true)
          if (what === 'keep up') turn(world, false)
          if (what === 'read' || what === 'keep up') views[replica] = { keys: world.keys, at: world.now }
          const view = views[replica]!
          const signer = what === 'sign' && world.now - view.at < leadMs ? signerOf(view.keys, world.now) : undefined
          if (signer !== undefined) {
            const { at, first } = world.made.get(signer.kid)!
            expect(first || world.now - at >= leadMs).toBe(true)
            living.push({ kid: signer.kid, endsAt: world.now + longestTokenMs })
          }
          living = living.filter(({ endsAt }) => endsAt >= world.now)
          const published = kids(publishedOf(world.keys, world.now))
          for (const { kid } of living) expect(published).toContain(kid)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('every replica that reads the same signs with the same key, in whatever order it was read', () => {
    const key = fc.record({ kid: fc.string({ minLength: 1 }), signsFrom: fc.nat(100) })
    const keys = fc.uniqueArray(key, { selector: ({ kid }) => kid, maxLength: 6 })
    fc.assert(
      fc.property(
        keys.chain((some) => fc.tuple(fc.constant(some), fc.shuffledSubarray(some, { minLength: some.length }))),
        fc.nat(120),
        ([some, shuffled], now) => {
          expect(signerOf(shuffled, now)).toEqual(signerOf(some, now))
          expect(publishedOf(shuffled, now)).toEqual(publishedOf(some, now))
        },
      ),
    )
  })
})

describe('the life of signing keys, step by step', () => {
  const [first, second] = [
    { kid: 'first', signsFrom: 0 },
    { kid: 'second', signsFrom: lifeMs },
  ]

  test('the very first signs at once, every later one once everybody had time to hear of it', () => {
    expect(isDue([], 0, lifeMs)).toBe(true)
    expect(signsFromOf([], 5)).toBe(5)
    expect(signsFromOf([first], 5)).toBe(5 + leadMs)
  })

  test('a successor is made so early that it signs when the newest has signed for its life', () => {
    expect(isDue([first], lifeMs - leadMs - 1, lifeMs)).toBe(false)
    expect(isDue([first], lifeMs - leadMs, lifeMs)).toBe(true)
    expect(isDue([first, second], lifeMs - leadMs, lifeMs)).toBe(false)
  })

  test('a key signs until the next does, and is published until its last token is believed nowhere', () => {
    const keys = [second, first]
    expect(signerOf(keys, lifeMs - 1)).toBe(first)
    expect(signerOf(keys, lifeMs)).toBe(second)
    expect(kids(publishedOf(keys, lifeMs + believedMs))).toEqual(['first', 'second'])
    expect(kids(publishedOf(keys, lifeMs + believedMs + 1))).toEqual(['second'])
  })

  test('private halves are needed of what signs and will sign, no longer of what has signed', () => {
    expect(kids(signersToCome([first, second], lifeMs - 1))).toEqual(['first', 'second'])
    expect(kids(signersToCome([first, second], lifeMs))).toEqual(['second'])
  })
})
