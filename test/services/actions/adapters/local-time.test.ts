import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  formatOffset,
  formatWall,
  isTimeZone,
  localInstantOf,
  offsetAt,
  parseWall,
  wallAt,
} from '../../../../services/actions/adapters/local-time.ts'

const wall = (text: string) => parseWall(text)!
const utc = (text: string) => Date.parse(text)

describe('a wall-clock time', () => {
  test.each([
    ['2026-02-28', '2026-02-28T00:00:00'],
    ['2028-02-29', '2028-02-29T00:00:00'],
    ['2026-11-23T09:30', '2026-11-23T09:30:00'],
    ['0099-01-01T23:59:59', '0099-01-01T23:59:59'],
  ])('%s is read as %s', (text, full) => {
    expect(formatWall(wall(text))).toBe(full)
  })

  test.each([
    '2026-02-29',
    '2026-02-30T10:00',
    '2026-13-01',
    '2026-01-01T24:00',
    '2026-01-01T10:60',
    '2026-1-1',
    '2026-01-01T10:00Z',
    '2026-01-01 10:00',
    '',
    '-2026-01-01',
  ])('%j is none', (text) => {
    expect(parseWall(text)).toBeUndefined()
  })

  test('of any day is read as it is written', () => {
    fc.assert(
      fc.property(fc.date({ min: new Date('0000-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }), (date) => {
        const text = date.toISOString().slice(0, 19)
        expect(formatWall(wall(text))).toBe(text)
      }),
    )
  })
})

describe('a time zone', () => {
  test.each(['Europe/Berlin', 'America/Argentina/Buenos_Aires', 'UTC', 'Etc/GMT+5', 'Asia/Kolkata', 'Asia/Calcutta'])(
    '%s is one',
    (name) => {
      expect(isTimeZone(name)).toBe(true)
    },
  )

  test.each(['europe/berlin', '+02:00', 'Europe/Nowhere', 'Europe/Berlin ', '', 'W. Europe Standard Time', '../UTC', 'a'.repeat(10_000)])(
    '%j is none',
    (name) => {
      expect(isTimeZone(name)).toBe(false)
    },
  )
})

describe('the instant of a wall-clock time', () => {
  test.each([
    ['an ordinary one', '2026-07-01T12:00', 'Europe/Berlin', '2026-07-01T10:00:00Z', 'once'],
    ['the last before a gap', '2026-03-29T01:59:59', 'Europe/Berlin', '2026-03-29T00:59:59Z', 'once'],
    ['the first of a gap', '2026-03-29T02:00', 'Europe/Berlin', '2026-03-29T01:00:00Z', 'skipped'],
    ['one in a gap', '2026-03-29T02:30', 'Europe/Berlin', '2026-03-29T01:30:00Z', 'skipped'],
    ['the first after a gap', '2026-03-29T03:00', 'Europe/Berlin', '2026-03-29T01:00:00Z', 'once'],
    ['the last before a fold', '2026-10-25T01:59:59', 'Europe/Berlin', '2026-10-24T23:59:59Z', 'once'],
    ['one in a fold', '2026-10-25T02:30', 'Europe/Berlin', '2026-10-25T00:30:00Z', 'twice'],
    ['the first after a fold', '2026-10-25T03:00', 'Europe/Berlin', '2026-10-25T02:00:00Z', 'once'],
    ['a gap of half an hour', '2026-10-04T02:15', 'Australia/Lord_Howe', '2026-10-03T15:45:00Z', 'skipped'],
    ['a day that an island skipped', '2011-12-30T12:00', 'Pacific/Apia', '2011-12-30T22:00:00Z', 'skipped'],
    ['a fold west of Greenwich', '2026-11-01T01:30', 'America/New_York', '2026-11-01T05:30:00Z', 'twice'],
    ['a year of two digits', '0050-01-01T10:00', 'America/New_York', '0050-01-01T14:56:02Z', 'once'],
    ['the first year that there is', '0000-01-02T00:00', 'UTC', '0000-01-02T00:00:00Z', 'once'],
    ['the last hour of the last year', '9999-12-31T23:59:59', 'America/New_York', '+010000-01-01T04:59:59Z', 'once'],
    ['a quarter of an hour off', '2026-01-01T00:00', 'Asia/Kathmandu', '2025-12-31T18:15:00Z', 'once'],
  ])('is known: %s', (_, text, zone, instant, kind) => {
    expect(localInstantOf(wall(text), zone)).toEqual({ instant: utc(instant), kind })
  })

  test('in the years of which Date.UTC makes others, is one that the clocks there show it at', () => {
    const walls = fc.integer({ min: utc('0000-01-01T00:00:00Z') / 60_000, max: utc('0100-01-01T00:00:00Z') / 60_000 })
    fc.assert(
      fc.property(walls, fc.constantFrom('America/New_York', 'Asia/Tokyo', 'Europe/Berlin', 'UTC'), (minutes, zone) => {
        expect(wallAt(localInstantOf(minutes * 60_000, zone).instant, zone)).toBe(minutes * 60_000)
      }),
    )
  })

  test('is one that the clocks there show it at, unless they skip it', () => {
    const zones = fc.constantFrom(
      'Europe/Berlin',
      'America/New_York',
      'Australia/Lord_Howe',
      'Asia/Kolkata',
      'America/St_Johns',
      'Africa/Casablanca',
      'UTC',
    )
    const walls = fc
      .integer({ min: utc('1990-01-01T00:00:00Z') / 60_000, max: utc('2060-01-01T00:00:00Z') / 60_000 })
      .map((minutes) => minutes * 60_000)
    fc.assert(
      fc.property(walls, zones, (shown, zone) => {
        const { instant, kind } = localInstantOf(shown, zone)
        if (kind === 'skipped') expect(wallAt(instant, zone)).toBeGreaterThan(shown)
        else expect(wallAt(instant, zone)).toBe(shown)
      }),
      { numRuns: 500 },
    )
  })
})

test('an offset is written as RFC 3339 does', () => {
  const at = (zone: string) => formatOffset(offsetAt(utc('2026-01-01T00:00:00Z'), zone))
  expect([at('UTC'), at('Asia/Kathmandu'), at('America/St_Johns'), at('Pacific/Kiritimati')]).toEqual([
    '+00:00',
    '+05:45',
    '-03:30',
    '+14:00',
  ])
})
