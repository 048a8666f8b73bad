import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseTime, parseTimeOrDay } from '#mesh/rfc3339.ts'

const two = (part: number) => String(part).padStart(2, '0')

describe('a time', () => {
  test.each([
    ['2026-01-31T12:00:00Z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31t12:00:00z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31T12:00:00.1239Z', '2026-01-31T12:00:00.123Z'],
    ['2026-01-31T12:00:00.5+02:00', '2026-01-31T10:00:00.500Z'],
    ['2026-01-31T23:30:00-01:30', '2026-02-01T01:00:00.000Z'],
    ['2028-02-29T00:00:00-00:00', '2028-02-29T00:00:00.000Z'],
    ['0050-01-01T00:00:00Z', '0050-01-01T00:00:00.000Z'],
  ])('%s is %s', (text, instant) => {
    expect(parseTime(text)?.toISOString()).toBe(instant)
  })

  test.each([
    '2026-02-30T00:00:00Z',
    '2026-02-29T00:00:00Z',
    '2100-02-29T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-00-01T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-01-00T00:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T23:60:00Z',
    '2016-12-31T23:59:60Z',
    '2026-01-01T00:00:00+24:00',
    '2026-01-01T00:00:00+01:60',
    '0000-01-01T00:00:00+00:01',
    '9999-12-31T23:59:59-00:01',
    '2026-01-01T00:00:00',
    '2026-01-01 00:00:00Z',
    '2026-01-01T00:00:00.Z',
    '2026-01-01',
    '+002026-01-01T00:00:00Z',
    '20260101T000000Z',
    ' 2026-01-01T00:00:00Z',
    '2026-01-01T00:00:00Z\n',
    '',
  ])('%j is none', (text) => {
    expect(parseTime(text)).toBeUndefined()
  })

  test('of any instant is read as it was written, in whatever offset', () => {
    const dates = fc.date({ min: new Date('0001-01-01'), max: new Date('9998-12-31'), noInvalidDate: true })
    fc.assert(
      fc.property(dates, fc.integer({ min: -1439, max: 1439 }), (date, offset) => {
        const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, -1)
        const [hours, minutes] = [Math.floor(Math.abs(offset) / 60), Math.abs(offset) % 60]
        expect(parseTime(`${local}${offset < 0 ? '-' : '+'}${two(hours)}:${two(minutes)}`)).toEqual(date)
      }),
    )
  })

  test('is one exactly where the calendar and the clock have it', () => {
    const parts = fc.tuple(
      fc.integer({ min: 0, max: 9999 }),
      fc.integer({ min: 0, max: 13 }),
      fc.integer({ min: 0, max: 32 }),
      fc.integer({ min: 0, max: 25 }),
      fc.integer({ min: 0, max: 61 }),
      fc.integer({ min: 0, max: 61 }),
    )
    const leap = (year: number) => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
    const daysOf = (year: number, month: number) => [31, leap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] ?? 0
    fc.assert(
      fc.property(parts, ([year, month, day, hour, minute, second]) => {
        const text = `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}T${two(hour)}:${two(minute)}:${two(second)}Z`
        const exists = day >= 1 && day <= daysOf(year, month) && hour < 24 && minute < 60 && second < 60
        expect(parseTime(text) !== undefined, text).toBe(exists)
      }),
      { numRuns: 1000 },
    )
  })

  test('is looked for in any text without a throw', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const found of [parseTime(text), parseTimeOrDay(text)])
          expect(found === undefined || !Number.isNaN(found.getTime())).toBe(true)
      }),
    )
  })
})

describe('what people type', () => {
  test.each([
    ['2026-01-31', '2026-01-31T00:00:00.000Z'],
    ['2026-01-31T12:30Z', '2026-01-31T12:30:00.000Z'],
    ['2026-01-31T12:30+01:00', '2026-01-31T11:30:00.000Z'],
    ['2026-01-31T12:30:15Z', '2026-01-31T12:30:15.000Z'],
  ])('%s is %s', (text, instant) => {
    expect(parseTimeOrDay(text)?.toISOString()).toBe(instant)
  })

  test.each(['2026-02-30', '2026-02-30T10:00Z', '2026-01-31T24:00Z', '2026-01', '31.01.2026', 'yesterday', ''])('%j is none', (text) => {
    expect(parseTimeOrDay(text)).toBeUndefined()
  })
})
