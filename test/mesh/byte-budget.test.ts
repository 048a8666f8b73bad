import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ByteBudget, type Reservation } from '#mesh/byte-budget.ts'

const ann = { name: 'ann', maxBytes: 100 }
const acme = { name: 'acme', maxBytes: 150 }

test('accepts bytes until it is full, and again after a release', () => {
  const budget = new ByteBudget({ maxBytes: 100 })
  const first = budget.take([], 60)
  expect(budget.take([], 41)).toBeUndefined()
  expect(budget.take([], 40)).toBeDefined()
  expect(budget.total).toBe(100)
  first!.release()
  first!.release()
  expect(budget.total).toBe(40)
  expect(budget.take([], 60)).toBeDefined()
})

test('rejects a holder that has its share, and no other', () => {
  const budget = new ByteBudget({ maxBytes: 1000 })
  expect(budget.take([ann, acme], 100)).toBeDefined()
  expect(budget.take([ann, acme], 1)).toBeUndefined()
  expect(budget.take([{ name: 'bob', maxBytes: 100 }, acme], 50)).toBeDefined()
  // The share that both have is full by now; what was refused has taken nothing.
  expect(budget.take([{ name: 'bob', maxBytes: 100 }, acme], 1)).toBeUndefined()
  expect(budget.take([{ name: 'eve', maxBytes: 100 }], 100)).toBeDefined()
  expect(budget.total).toBe(250)
})

test('accepts more than a share, or than the total, if nothing else is in flight', () => {
  const budget = new ByteBudget({ maxBytes: 50 })
  const large = budget.take([ann], 200)
  expect(large).toBeDefined()
  expect(budget.take([], 1)).toBeUndefined()
  large!.release()
  expect(budget.take([ann], 50)).toBeDefined()
})

test('bytes beyond a share take space from no other holder, neither in its workspace nor in total', () => {
  const budget = new ByteBudget({ maxBytes: 300 })
  const bob = { name: 'bob', maxBytes: 100 }
  const eve = [
    { name: 'eve', maxBytes: 150 },
    { name: 'other', maxBytes: 150 },
  ]
  const [first, second] = [budget.take([ann, acme], 50)!, budget.take([ann, acme], 50)!]
  first.resize(5000)
  second.resize(1000)
  expect(budget.total).toBe(6000)
  expect(budget.take([ann, acme], 1)).toBeUndefined()
  const his = budget.take([bob, acme], 50)!
  expect(his).toBeDefined()
  const hers = budget.take(eve, 150)!
  expect(hers).toBeDefined()
  expect(budget.take(eve, 1)).toBeUndefined()
  // Whatever goes first, nothing is left of what was counted.
  first.release()
  expect(budget.take([ann, acme], 1)).toBeUndefined()
  his.release()
  second.release()
  hers.release()
  expect(budget.total).toBe(0)
  expect(budget.take([ann, acme], 100)).toBeDefined()
  expect(budget.take(eve, 150)).toBeDefined()
})

test('lets a holder have more if there is space, and otherwise changes nothing', () => {
  const budget = new ByteBudget({ maxBytes: 130 })
  const one = budget.take([ann], 10)!
  const other = budget.take([ann], 10)!
  expect(one.tryResize(91)).toBe(false)
  expect(budget.total).toBe(20)
  expect(one.tryResize(90)).toBe(true)
  expect(other.tryResize(11)).toBe(false)
  expect(other.tryResize(5)).toBe(true)
  const stranger = budget.take([{ name: 'eve', maxBytes: 100 }], 35)!
  expect(stranger.tryResize(36)).toBe(false)
  one.release()
  expect(one.tryResize(50)).toBe(true)
  expect(budget.total).toBe(40)
  expect(stranger.tryResize(36)).toBe(true)
})

test('keeps its reserved part for small requests', () => {
  const budget = new ByteBudget({ maxBytes: 100, reservedBytes: 40, smallBytes: 5 })
  expect(budget.take([], 60)).toBeDefined()
  expect(budget.take([], 6)).toBeUndefined()
  for (let index = 0; index < 8; index += 1) expect(budget.take([], 5)).toBeDefined()
  expect(budget.take([], 5)).toBeUndefined()
})

test('whatever is taken, resized and released, it counts the bytes in flight and forgets empty holders', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('take' as const), who: fc.constantFrom('a', 'b', 'c'), bytes: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ kind: fc.constantFrom('release' as const, 'resize' as const), which: fc.nat(), bytes: fc.integer({ min: 1, max: 60 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const budget = new ByteBudget({ maxBytes: 150 })
      const all: { held: Reservation; who: string; bytes: number }[] = []
      const sum = (who?: string) => all.reduce((total, each) => total + (who === undefined || each.who === who ? each.bytes : 0), 0)
      for (const each of steps) {
        if (each.kind === 'take') {
          const fits = (sum() === 0 || sum() + each.bytes <= 150) && (sum(each.who) === 0 || sum(each.who) + each.bytes <= 80)
          const held = budget.take([{ name: each.who, maxBytes: 80 }], each.bytes)
          expect(held !== undefined).toBe(fits)
          if (held !== undefined) all.push({ held, who: each.who, bytes: each.bytes })
        } else if (all.length > 0) {
          const one = all[each.which % all.length]!
          if (each.kind === 'release') all.splice(all.indexOf(one), 1)
          if (each.kind === 'release') one.held.release()
          else one.held.resize((one.bytes = each.bytes))
        }
        expect(budget.total).toBe(sum())
      }
      for (const { held } of all) {
        held.release()
        held.resize(7)
      }
      expect(budget.total).toBe(0)
    }),
  )
})
