import fc from 'fast-check'
import { expect, test } from 'vitest'
import { counterKey } from '../../../services/ratelimit/window.ts'

const unit = fc.constantFrom('a', ':', '=', '&', '{', '}', '%', '3', 'A', ' ', '*', '\n', 'ü', '\u{1F600}', '\0')
const nasty = fc.string({ unit, maxLength: 8 })
const descriptor = fc.array(fc.record({ key: nasty, value: nasty }), { minLength: 1, maxLength: 4 })

test('no two descriptors share a counter', () => {
  fc.assert(
    fc.property(nasty, descriptor, nasty, descriptor, (domainA, a, domainB, b) => {
      const same = JSON.stringify([domainA, a]) === JSON.stringify([domainB, b])
      expect(counterKey(domainA, a) === counterKey(domainB, b)).toBe(same)
    }),
    { numRuns: 2000 },
  )
})

test('the hash tag of a name is its domain, whatever callers send: one node of a cluster holds all of a domain', () => {
  fc.assert(
    fc.property(nasty, descriptor, (domain, entries) => {
      const key = counterKey(domain, entries)
      // As in the cluster specification: what is between the first { and the first } after it.
      const tag = key.slice(key.indexOf('{') + 1, key.indexOf('}'))
      expect(tag).toBe(counterKey(domain, []).slice('ratelimit:{'.length, -'}:'.length))
    }),
  )
})

test('names are readable while short, and short always', () => {
  expect(counterKey('relay', [{ key: 'workspace', value: 'acme' }])).toBe('ratelimit:{relay}:workspace=acme')
  const long = counterKey(
    'relay',
    Array.from({ length: 8 }, () => ({ key: 'k'.repeat(64), value: 'v'.repeat(256) })),
  )
  expect(long).toMatch(/^ratelimit:\{relay\}:sha256:[0-9a-f]{64}$/)
})

test('text that is not well-formed has a name too', () => {
  expect(counterKey('relay', [{ key: 'k', value: '\ud800' }])).toBe('ratelimit:{relay}:k=%EF%BF%BD')
})
