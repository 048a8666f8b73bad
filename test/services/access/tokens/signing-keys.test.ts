import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Signing,
  acceptedMs,
  isDue,
  leadMs,
  maxTokenMs,
  publishedOf,
  signerOf,
  futureSigners,
  signsFromOf,
} from '../../../../services/access/tokens/signing-keys.ts'

const lifetimeMs = 3_600_000
const kids = (keys: readonly Signing[]) => keys.map(({ kid }) => kid)

/** What two replicas and an operator do one after the other, and how much time passes before each. */
const step = fc.record({
  afterMs: fc.oneof(
    fc.constantFrom(0, 1, leadMs - 2, leadMs - 1, leadMs, maxTokenMs),
    fc.nat(leadMs),
    fc.nat(2 * acceptedMs),
    fc.nat(lifetimeMs),
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
function turn(fixture: World, asked: boolean): void {
  const { keys, now } = fixture
  const published = publishedOf(keys, now)
  if (asked || isDue(keys, now, lifetimeMs)) {
    const kid = `key ${fixture.made.size}`
    fixture.made.set(kid, { at: now, first: keys.length === 0 })
    fixture.keys = [...published, { kid, signsFrom: signsFromOf(keys, now) }]
  } else fixture.keys = published
}

describe('the life of signing keys, whatever replicas and operators do', () => {
  test('nothing is signed with a key that verifiers had no time to hear of, and none goes while a token of it lives', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 100, maxLength: 100 }), (steps) => {
        const fixture: World = { now: 1_000_000, keys: [], made: new Map() }
        const views: { keys: readonly Signing[]; at: number }[] = [0, 1].map(() => ({ keys: [], at: -Infinity }))
        let living: { kid: string; endsAt: number }[] = []
        for (const { afterMs, what, replica } of steps) {
          fixture.now += afterMs
          if (what === 'rotate') turn(fixture, true)
          if (what === 'keep up') turn(fixture, false)
          if (what === 'read' || what === 'keep up') views[replica] = { keys: fixture.keys, at: fixture.now }
          const view = views[replica]!
          const signer = what === 'sign' && fixture.now - view.at < leadMs ? signerOf(view.keys, fixture.now) : undefined
          if (signer !== undefined) {
            const { at, first } = fixture.made.get(signer.kid)!
            expect(first || fixture.now - at >= leadMs).toBe(true)
            living.push({ kid: signer.kid, endsAt: fixture.now + maxTokenMs })
          }
          living = living.filter(({ endsAt }) => endsAt >= fixture.now)
          const published = kids(publishedOf(fixture.keys, fixture.now))
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
    { kid: 'second', signsFrom: lifetimeMs },
  ]

  test('the very first signs at once, every later one once everybody had time to hear of it', () => {
    expect(isDue([], 0, lifetimeMs)).toBe(true)
    expect(signsFromOf([], 5)).toBe(5)
    expect(signsFromOf([first], 5)).toBe(5 + leadMs)
  })

  test('a successor is made so early that it signs when the newest has signed for its life', () => {
    expect(isDue([first], lifetimeMs - leadMs - 1, lifetimeMs)).toBe(false)
    expect(isDue([first], lifetimeMs - leadMs, lifetimeMs)).toBe(true)
    expect(isDue([first, second], lifetimeMs - leadMs, lifetimeMs)).toBe(false)
  })

  test('a key signs until the next does, and is published until its last token is believed nowhere', () => {
    const keys = [second, first]
    expect(signerOf(keys, lifetimeMs - 1)).toBe(first)
    expect(signerOf(keys, lifetimeMs)).toBe(second)
    expect(kids(publishedOf(keys, lifetimeMs + acceptedMs))).toEqual(['first', 'second'])
    expect(kids(publishedOf(keys, lifetimeMs + acceptedMs + 1))).toEqual(['second'])
  })

  test('private halves are needed of what signs and will sign, no longer of what has signed', () => {
    expect(kids(futureSigners([first, second], lifetimeMs - 1))).toEqual(['first', 'second'])
    expect(kids(futureSigners([first, second], lifetimeMs))).toEqual(['second'])
  })
})
