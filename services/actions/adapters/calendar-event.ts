/** A calendar event as requested, shown and created: typed, and validated as a whole. It does not repeat. Pure. */
import { z } from 'zod'
import { type WallTime, formatOffset, formatWall, isTimeZone, localInstantOf, offsetAt, parseWall } from './local-time.ts'
import { type Address, address, domainOf, said } from './mail.ts'
import { plainName } from './plain-text.ts'

const isWall = (text: string) => parseWall(text) !== undefined

const timed = z.strictObject({
  date_time: z
    .string()
    .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$/, 'must be a local time such as 2030-01-31T09:30, without an offset')
    .refine(isWall, 'is not a valid date and time')
    .describe('What the clocks there show: YYYY-MM-DDTHH:MM.'),
  time_zone: z
    .string()
    .max(64)
    .refine(isTimeZone, 'must be the IANA name of a time zone, such as Europe/Berlin')
    .describe('An IANA time zone.'),
})

const wholeDay = z.strictObject({
  date: z
    .string()
    .regex(/^\d{4}-\d{2}-\d{2}$/, 'must be a day such as 2030-01-31')
    .refine(isWall, 'is not a valid date')
    .describe('A day: YYYY-MM-DD. The end is the first day after the event.'),
})

const time = z.union([timed, wholeDay], { error: 'must be {"date_time", "time_zone"}, or {"date"} for whole days' })

export type EventTime = z.output<typeof time>

/** Maximum number of attendees. */
const maxAttendees = 100

export const eventParams = z
  .strictObject({
    title: plainName(300).describe('What the event is called.'),
    description: z
      .string()
      .max(8000)
      // oxlint-disable-next-line no-control-regex -- they are what is looked for
      .refine((text) => text.isWellFormed() && !/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text), 'has control characters')
      .optional()
      .describe('Plain text.'),
    location: plainName(500).optional().describe('Where it is.'),
    start: time.describe('When it begins: a local time in a time zone, or a whole day.'),
    end: time.describe('When it ends, said as the start is.'),
    attendees: z.array(address).max(maxAttendees).default([]).describe('Who is invited.'),
  })
  .superRefine(({ start, end, attendees }, context) => {
    // Invalid times and addresses cannot be compared.
    if (context.issues.length > 0) return
    const refuse = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message })
    if ('date' in start !== 'date' in end) refuse(['end'], 'must be a day where the start is one, and a time where that is one')
    else if (instantOf(end) <= instantOf(start))
      refuse(['end'], 'date' in end ? 'must be a later day than the start: the first one after the event' : notLater(start, end))
    const seen = new Set<string>()
    for (const [index, { address: at }] of attendees.entries()) {
      if (seen.has(at.toLowerCase())) refuse(['attendees', index], 'is named twice')
      seen.add(at.toLowerCase())
    }
  })

export type CalendarEvent = z.output<typeof eventParams>

/** Why an end is not valid: where the clocks change, local times alone do not show it. */
function notLater(start: EventTime, end: EventTime): string {
  const changes = [...clockWarnings('start', start), ...clockWarnings('end', end)]
  const twice = !('date' in end) && localInstantOf(wallOf(end), end.time_zone).kind === 'twice'
  if (changes.length === 0) return 'must be later than the start'
  return ['must be later than the start.', ...changes, ...(twice ? ['To mean the second one, give it in UTC.'] : [])].join(' ')
}

/** Milliseconds since 1970; for a day its beginning in UTC. */
export function instantOf(at: EventTime): number {
  return 'date' in at ? wallOf(at) : localInstantOf(wallOf(at), at.time_zone).instant
}

/** A time that was validated before. */
const wallOf = (at: EventTime): WallTime => parseWall('date' in at ? at.date : at.date_time) ?? NaN

/** `+02:00`: how far the clocks are ahead of UTC then. */
export const offsetOf = (at: Exclude<EventTime, { date: string }>): string => formatOffset(offsetAt(instantOf(at), at.time_zone))

/** Whether `offsetOf` expresses all of it. */
export const hasWholeMinutes = (at: Exclude<EventTime, { date: string }>): boolean => offsetAt(instantOf(at), at.time_zone) % 60_000 === 0

/** The event as it will be created: a time that the clocks skip becomes the one that they show instead. */
export function settled<E extends CalendarEvent>(event: E): E {
  return { ...event, start: settledTime(event.start), end: settledTime(event.end) }
}

function settledTime(at: EventTime): EventTime {
  if ('date' in at) return at
  const { instant } = localInstantOf(wallOf(at), at.time_zone)
  return { ...at, date_time: formatWall(instant + offsetAt(instant, at.time_zone)) }
}

const dayMs = 24 * 60 * 60 * 1000

/** The summary that a person reads before they agree. The description comes last: whatever it contains, nothing of ours follows it. */
export function eventSummary(event: CalendarEvent, account: string | undefined, invites: string): string {
  const { title, description, location, attendees } = event
  return [
    `Create the event "${title}" in the calendar of ${account ?? 'the account that is yet to be connected'}`,
    `When: ${spanText(event)}`,
    ...(location === undefined ? [] : [`Where: ${location}`]),
    attendees.length === 0 ? 'No one is invited.' : `Invited: ${attendees.map(said).join(', ')}`,
    ...(attendees.length === 0 ? [] : [invites]),
    ...(description === undefined ? [] : ['Description:', description]),
  ].join('\n')
}

const dayFormat = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' })

/** The year with four digits: Intl writes the year 50 as 50, and the year 0 as 1. */
const dayText = (wall: WallTime) =>
  dayFormat
    .formatToParts(wall)
    .map(({ type, value }) => (type === 'year' ? formatWall(wall).slice(0, 4) : value))
    .join('')

const clockText = (wall: WallTime) => formatWall(wall).slice(11).replace(/:00$/, '')

function spanText({ start, end }: CalendarEvent): string {
  if ('date' in start || 'date' in end) {
    const [first, last] = [wallOf(start), wallOf(end) - dayMs]
    const days = Math.round((last - first) / dayMs) + 1
    return days === 1 ? `${dayText(first)}, all day` : `${dayText(first)} to ${dayText(last)}, all day (${days} days)`
  }
  const [from, to] = [wallOf(start), wallOf(end)]
  const zone = (at: typeof start) => `${at.time_zone}, UTC${offsetOf(at)}`
  if (start.time_zone === end.time_zone && offsetOf(start) === offsetOf(end)) {
    const until = dayText(from) === dayText(to) ? clockText(to) : `${dayText(to)}, ${clockText(to)}`
    return `${dayText(from)}, ${clockText(from)} to ${until} (${zone(start)})`
  }
  return `${dayText(from)}, ${clockText(from)} (${zone(start)}) to ${dayText(to)}, ${clockText(to)} (${zone(end)})`
}

/** More attendees than this get a warning: the person may not have meant all of them. */
const manyAttendees = 20

/** Warnings about what a person may not have meant. `asked` is the event before normalisation; `now` in milliseconds since 1970. */
export function eventWarnings(asked: CalendarEvent, account: string | undefined, now: number): string[] {
  const { start, end, attendees } = asked
  const warnings = [...clockWarnings('start', start), ...clockWarnings('end', end)]
  if (!('date' in start) && !('date' in end)) {
    if (start.time_zone !== end.time_zone) warnings.push(`It starts in ${start.time_zone} and ends in ${end.time_zone}: two time zones.`)
    const days = Math.floor((instantOf(end) - instantOf(start)) / dayMs)
    if (days >= 1) warnings.push(`It lasts longer than ${days === 1 ? 'a day' : `${days} days`}.`)
  }
  // A whole day is still current somewhere on Earth until twelve hours later.
  const slack = 'date' in end ? dayMs / 2 : 0
  if (instantOf(end) + slack <= now) warnings.push('It is in the past.')
  else if (instantOf(start) + slack <= now && !('date' in start)) warnings.push('It has already begun.')
  if (instantOf(start) > now + 366 * dayMs) warnings.push('It is more than a year away.')
  return [...warnings, ...attendeeWarnings(attendees, account)]
}

function clockWarnings(which: string, at: EventTime): string[] {
  if ('date' in at) return []
  const { kind } = localInstantOf(wallOf(at), at.time_zone)
  if (kind === 'skipped') {
    const shown = settledTime(at) as typeof at
    return [
      `The ${which} ${at.date_time} does not exist in ${at.time_zone}: the clocks go forward over it. It is read as ${shown.date_time}.`,
    ]
  }
  if (kind === 'twice')
    return [
      `The ${which} ${at.date_time} comes twice in ${at.time_zone}: the clocks go back. The first one is meant, at UTC${offsetOf(at)}.`,
    ]
  return []
}

function attendeeWarnings(attendees: readonly Address[], account: string | undefined): string[] {
  const warnings = []
  const own = account === undefined ? undefined : domainOf(account)
  const external = own === undefined ? [] : attendees.filter((each) => domainOf(each.address) !== own)
  if (external.length > 0) warnings.push(`Outside ${own}: ${external.map((each) => each.address).join(', ')}.`)
  for (const { address: at, name } of attendees) {
    if (name?.includes('@') && name !== at) warnings.push(`"${name}" is a name here: the invitation goes to ${at}.`)
  }
  if (attendees.length >= manyAttendees) warnings.push(`${attendees.length} people are invited.`)
  return warnings
}
