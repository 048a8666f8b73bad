import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Chain, type Entry } from '../../../../services/access/audit/chain.ts'
import { anyChain, chain, chained, eventOf, longChain, secret, workspace } from './chained.ts'

const fields = [
  'version',
  'workspace',
  'sequence',
  'recordedAt',
  'eventId',
  'occurredAt',
  'service',
  'action',
  'outcome',
  'reason',
  'actor',
  'keyId',
  'targets',
  'requestId',
  'traceId',
  'source',
  'count',
] as const

describe('an entry', () => {
  test('follows the one that it was made after, whatever it holds', () => {
    fc.assert(
      fc.property(anyChain(1), (entries) => {
        let previous = chain.origin(workspace)
        for (const entry of entries) {
          expect(chain.follows(previous.mac, entry)).toBe(true)
          previous = entry
        }
        expect(entries.map(({ sequence }) => sequence)).toEqual(entries.map((_, index) => index + 1))
      }),
    )
  })

  test('has a MAC over every field that it has', () => {
    expect(Object.keys(longChain(1)[0]!).toSorted()).toEqual([...fields, 'mac'].toSorted())
  })

  test.each(fields)('no longer follows when its %s is another', (field) => {
    const entry = longChain(1)[0]!
    const value = entry[field]
    const other = typeof value === 'number' ? value + 1 : typeof value === 'string' ? `${value} ` : [...value, 'run:other']
    expect(chain.follows(chain.origin(workspace).mac, { ...entry, [field]: other })).toBe(false)
  })

  test('has no two readings: what moves from one field or target to the next shows', () => {
    const entry = chained([eventOf({ actor: 'ab', keyId: 'c', targets: ['run:a', 'run:b'] })])[0]!
    const moved: Partial<Entry>[] = [
      { actor: 'a', keyId: 'bc' },
      { actor: 'ab","c', keyId: '' },
      { targets: ['run:a,run:b'] },
      { targets: ['run:b', 'run:a'] },
      { targets: ['run:a","run:b'] },
    ]
    for (const over of moved) expect(chain.follows(chain.origin(workspace).mac, { ...entry, ...over })).toBe(false)
  })

  test('follows nothing under another key, in another workspace, or after another entry', () => {
    const [first, second] = longChain(2) as [Entry, Entry]
    expect(new Chain(`${secret}.`).follows(chain.origin(workspace).mac, first)).toBe(false)
    expect(chain.follows(chain.origin('other').mac, first)).toBe(false)
    expect(chain.follows(longChain(1)[0]!.mac, second)).toBe(false)
    expect(chain.follows(chain.origin(workspace).mac, { ...first, mac: Buffer.alloc(0) })).toBe(false)
  })

  test('has the MAC that the format says, so that others can compute it', () => {
    const event = eventOf({ eventId: '3a033cc1-0000-4000-8000-000000000001', targets: ['run:1'], requestId: 'r' })
    expect(chained([event])[0]!.mac.toString('hex')).toBe('7f1dc7117284b9eeb1043ec516c08e5bb00f0bac0934de77db9ff0a19f2a8665')
  })
})

describe('a statement', () => {
  const head = chain.state('head', workspace, longChain(3)[2]!, '2026-01-31T12:00:00.000Z')

  test('is genuine as it was made, and for its purpose alone', () => {
    expect(chain.isGenuine('head', head)).toBe(true)
    expect(chain.isGenuine('checkpoint', head)).toBe(false)
    expect(new Chain(`${secret}.`).isGenuine('head', head)).toBe(false)
  })

  test.each([
    { workspace: 'other' },
    { sequence: 2 },
    { mac: Buffer.alloc(32) },
    { at: '2026-01-31T12:00:00.001Z' },
    { seal: Buffer.alloc(0) },
  ])('is forged with %o', (over) => expect(chain.isGenuine('head', { ...head, ...over })).toBe(false))
})
