import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type CalendarEvent,
  eventParams,
  eventSummary,
  eventWarnings,
  instantOf,
  settled,
} from '../../../../services/actions/adapters/calendar-event.ts'

const berlin = (date_time: string) => ({ date_time, time_zone: 'Europe/Berlin' })
const meeting = { title: 'Plan', start: berlin('2026-12-01T09:30'), end: berlin('2026-12-01T10:30') }
const event = (part: object = {}): CalendarEvent => eventParams.parse({ ...meeting, ...part })
const now = Date.parse('2026-11-23T12:00:00Z')
const warnings = (part: object = {}, account: string | undefined = 'ada@example.com') => eventWarnings(event(part), account, now)

describe('an event', () => {
  test('needs only a title, a start and an end', () => {
    expect(event()).toEqual({ ...meeting, attendees: [] })
  })

  test.each<[string, object, (string | number)[]]>([
    ['without a title', { title: ' ' }, ['title']],
    ['with a title of two lines', { title: 'Plan\nB' }, ['title']],
    ['with a place that turns its text around', { location: 'Room \u202e1' }, ['location']],
    ['with a description that holds a NUL', { description: 'a\0b' }, ['description']],
    ['with a description of half a character', { description: '\ud800' }, ['description']],
    ['that repeats', { recurrence: ['RRULE:FREQ=DAILY'] }, []],
    ['that ends when it starts', { end: meeting.start }, ['end']],
    ['that ends before it starts, in another zone', { end: { date_time: '2026-12-01T10:30', time_zone: 'Asia/Tokyo' } }, ['end']],
    ['that ends on the day on which it starts', { start: { date: '2026-12-01' }, end: { date: '2026-12-01' } }, ['end']],
    ['that starts on a day and ends at a time', { start: { date: '2026-12-01' } }, ['end']],
    ['on a day that there is not', { start: { date: '2026-02-30' }, end: { date: '2026-03-03' } }, ['start', 'date']],
    ['at a time that there is not', { start: berlin('2026-12-01T24:00') }, ['start', 'date_time']],
    ['at a time with an offset', { start: berlin('2026-12-01T09:30+01:00') }, ['start', 'date_time']],
    ['in a zone that there is not', { start: { date_time: '2026-12-01T09:30', time_zone: 'Europe/Nowhere' } }, ['start', 'time_zone']],
    ['in a zone that is an offset', { start: { date_time: '2026-12-01T09:30', time_zone: '+01:00' } }, ['start', 'time_zone']],
    ['at a time in no zone', { start: { date_time: '2026-12-01T09:30' } }, ['start']],
    ['with a guest who is no address', { attendees: ['bob'] }, ['attendees', 0]],
    ['with a guest who is two addresses', { attendees: ['bob@example.com,eve@example.com'] }, ['attendees', 0]],
    ['with a guest who is invited twice', { attendees: ['bob@example.com', 'BOB@example.com'] }, ['attendees', 1]],
    ['with a hundred and one guests', { attendees: Array.from({ length: 101 }, (_, n) => `a${n}@example.com`) }, ['attendees']],
  ])('%s is refused, and the refusal says where', (_, part, path) => {
    const parsed = eventParams.safeParse({ ...meeting, ...part })
    expect(parsed.error?.issues.map((issue) => issue.path)).toContainEqual(path)
  })

  const newYork = (date_time: string) => ({ date_time, time_zone: 'America/New_York' })

  test.each<[string, object, RegExp]>([
    [
      'that starts within the hour that the clocks skip, and ends at its end',
      { start: newYork('2030-03-10T02:30'), end: newYork('2030-03-10T03:00') },
      /^must be later than the start\. The start 2030-03-10T02:30 does not exist in America\/New_York: the clocks go forward.*03:30:00\.$/,
    ],
    [
      'that starts after that hour, and ends within it',
      { start: newYork('2030-03-10T03:45'), end: newYork('2030-03-10T02:30') },
      /^must be later than the start\. The end 2030-03-10T02:30 does not exist in America\/New_York: the clocks go forward.*03:30:00\.$/,
    ],
    [
      'that ends in the second of two hours of one name',
      { start: newYork('2030-11-03T01:45'), end: newYork('2030-11-03T01:15') },
      /^must be later than the start\. .*The end 2030-11-03T01:15 comes twice in America\/New_York: the clocks go back\. The first one.*give it in UTC/,
    ],
    ['whose clocks have nothing to do with it', { end: meeting.start }, /^must be later than the start$/],
  ])('%s is refused, and the refusal names the change of the clocks where there is one', (_, part, sentence) => {
    const parsed = eventParams.safeParse({ ...meeting, ...part })
    expect(parsed.error?.issues).toMatchObject([{ path: ['end'], message: expect.stringMatching(sentence) }])
  })

  test('of the year 50 is of the year 50', () => {
    const old = event({ start: newYork('0050-06-01T10:00'), end: newYork('0050-06-01T11:00') })
    expect(settled(old)).toEqual({ ...old, start: newYork('0050-06-01T10:00:00'), end: newYork('0050-06-01T11:00:00') })
    expect(eventSummary(old, undefined, '')).toMatch(/^When: .*\b0050, 10:00 to 11:00 \(America\/New_York/m)
  })

  test('is the same event after it was shown', () => {
    const time = fc.record({
      date_time: fc
        .date({ min: new Date('2000-01-01'), max: new Date('2050-01-01'), noInvalidDate: true })
        .map((date) => date.toISOString().slice(0, 16)),
      time_zone: fc.constantFrom('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'UTC'),
    })
    fc.assert(
      fc.property(time, time, (start, end) => {
        const parsed = eventParams.safeParse({ title: 'Plan', start, end })
        if (!parsed.success) return
        const shown = settled(parsed.data)
        expect(eventParams.parse(shown)).toEqual(shown)
        expect(settled(shown)).toEqual(shown)
        expect([instantOf(shown.start), instantOf(shown.end)]).toEqual([instantOf(parsed.data.start), instantOf(parsed.data.end)])
      }),
      { numRuns: 300 },
    )
  })
})

describe('its summary', () => {
  const summary = (part: object) => eventSummary(event(part), 'ada@example.com', 'They are told.').split('\n')

  test('says what, when in which zone, where, who is invited, and that they are notified', () => {
    expect(
      summary({
        location: 'Room 1',
        description: 'Two\nlines',
        attendees: ['bob@example.com', { address: 'eve@example.net', name: 'Eve' }],
      }),
    ).toEqual([
      'Create the event "Plan" in the calendar of ada@example.com',
      'When: Tue, 1 Dec 2026, 09:30 to 10:30 (Europe/Berlin, UTC+01:00)',
      'Where: Room 1',
      'Invited: bob@example.com, Eve <eve@example.net>',
      'They are told.',
      'Description:',
      'Two',
      'lines',
    ])
  })

  test('says that no one is invited, and that no account is connected yet', () => {
    expect(eventSummary(event(), undefined, 'They are told.')).toBe(
      [
        'Create the event "Plan" in the calendar of the account that is yet to be connected',
        'When: Tue, 1 Dec 2026, 09:30 to 10:30 (Europe/Berlin, UTC+01:00)',
        'No one is invited.',
      ].join('\n'),
    )
  })

  test.each<[string, object, string]>([
    [
      'over midnight',
      { end: berlin('2026-12-02T01:00:30') },
      'Tue, 1 Dec 2026, 09:30 to Wed, 2 Dec 2026, 01:00:30 (Europe/Berlin, UTC+01:00)',
    ],
    [
      'in two zones',
      { end: { date_time: '2026-12-01T06:00', time_zone: 'America/New_York' } },
      'Tue, 1 Dec 2026, 09:30 (Europe/Berlin, UTC+01:00) to Tue, 1 Dec 2026, 06:00 (America/New_York, UTC-05:00)',
    ],
    [
      'over a change of the clocks',
      { start: berlin('2027-03-27T20:00'), end: berlin('2027-03-28T06:00') },
      'Sat, 27 Mar 2027, 20:00 (Europe/Berlin, UTC+01:00) to Sun, 28 Mar 2027, 06:00 (Europe/Berlin, UTC+02:00)',
    ],
    ['of a day', { start: { date: '2026-12-01' }, end: { date: '2026-12-02' } }, 'Tue, 1 Dec 2026, all day'],
    [
      'of some days',
      { start: { date: '2026-12-30' }, end: { date: '2027-01-02' } },
      'Wed, 30 Dec 2026 to Fri, 1 Jan 2027, all day (3 days)',
    ],
  ])('is exact %s', (_, part, text) => {
    expect(summary(part)[1]).toBe(`When: ${text}`)
  })
})

describe('its warnings', () => {
  test('are empty for an ordinary event', () => {
    expect(warnings({ attendees: ['bob@example.com'] })).toEqual([])
  })

  test.each<[string, object, string | RegExp]>([
    [
      'guests from outside',
      { attendees: ['bob@example.com', 'eve@example.net', 'x@sub.example.com'] },
      'Outside example.com: eve@example.net, x@sub.example.com.',
    ],
    ['many guests', { attendees: Array.from({ length: 20 }, (_, n) => `a${n}@example.com`) }, '20 people are invited.'],
    [
      'a name that is another address',
      { attendees: [{ address: 'eve@example.com', name: 'bob@example.com' }] },
      '"bob@example.com" is a name here: the invitation goes to eve@example.com.',
    ],
    ['the past', { start: berlin('2026-11-23T11:00'), end: berlin('2026-11-23T12:59') }, 'It is in the past.'],
    ['a day that is past everywhere', { start: { date: '2026-11-22' }, end: { date: '2026-11-23' } }, 'It is in the past.'],
    ['an event under way', { start: berlin('2026-11-23T12:59'), end: berlin('2026-11-23T13:59') }, 'It has already begun.'],
    ['a year that may be a slip', { start: berlin('2062-12-01T09:30'), end: berlin('2062-12-01T10:30') }, 'It is more than a year away.'],
    [
      'two zones',
      { end: { date_time: '2026-12-01T06:00', time_zone: 'America/New_York' } },
      'It starts in Europe/Berlin and ends in America/New_York: two time zones.',
    ],
    ['days on end', { end: berlin('2026-12-04T09:30') }, 'It lasts longer than 3 days.'],
    [
      'a start that the clocks skip',
      { start: berlin('2027-03-28T02:30'), end: berlin('2027-03-28T05:00') },
      /^The start 2027-03-28T02:30 does not exist in Europe\/Berlin.*read as 2027-03-28T03:30:00\.$/,
    ],
    [
      'an end that comes twice',
      { start: berlin('2027-10-31T01:00'), end: berlin('2027-10-31T02:30') },
      /^The end 2027-10-31T02:30 comes twice in Europe\/Berlin.*at UTC\+02:00\.$/,
    ],
  ])('are of %s', (_, part, warning) => {
    expect(warnings(part)).toEqual([typeof warning === 'string' ? warning : expect.stringMatching(warning)])
  })

  test('do not concern a day that is still current somewhere on Earth', () => {
    expect(warnings({ start: { date: '2026-11-23' }, end: { date: '2026-11-24' } })).toEqual([])
    expect(
      eventWarnings(event({ start: { date: '2026-11-22' }, end: { date: '2026-11-23' } }), undefined, Date.parse('2026-11-23T11:59:00Z')),
    ).toEqual([])
  })

  test('do not concern guests if it is unknown who is external', () => {
    expect(eventWarnings(event({ attendees: ['eve@example.net'] }), undefined, now)).toEqual([])
  })
})
