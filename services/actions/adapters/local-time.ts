/**
 * Wall-clock times in IANA time zones, and the instants that they name: usually one, none where the clocks skip it, two where they repeat
 * it. Pure; the zones are those of Node's ICU data.
 */

import { parseTime } from '#mesh/rfc3339.ts'

const dayMs = 24 * 60 * 60 * 1000

/** A wall-clock time as if the clock were at UTC: milliseconds since 1970. */
export type WallTime = number

/** From `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM[:SS]`; undefined if there is no such time. */
export function parseWall(text: string): WallTime | undefined {
  const found = /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2})(:\d{2})?)?$/.exec(text)
  if (found === null) return undefined
  return parseTime(`${found[1]}T${found[2] ?? '00:00'}${found[3] ?? ':00'}Z`)?.getTime()
}

/** `YYYY-MM-DDTHH:MM:SS`. */
export const formatWall = (wall: WallTime): string => new Date(wall).toISOString().slice(0, 19)

/** A name such as "Europe/Berlin" or "UTC": not an offset, nor a name in other letter cases, which providers may not know. */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+){0,2}$/.test(name)) return false
  try {
    const known = formatterOf(name).resolvedOptions().timeZone
    return known === name || known.toLowerCase() !== name.toLowerCase()
  } catch {
    return false
  }
}

/** How far the zone's clocks are ahead of UTC at that instant, in milliseconds. */
export function offsetAt(instant: number, zone: string): number {
  const parts = Object.fromEntries(
    formatterOf(zone)
      .formatToParts(instant)
      .map(({ type, value }) => [type, value]),
  )
  const [year, month, day, ...clock] = ['year', 'month', 'day', 'hour', 'minute', 'second'].map((part) => Number(parts[part]))
  // Date.UTC reads the years 0 to 99 as those from 1900 on. Before the year 1 is 1 BC, which is the year 0.
  const wall = new Date(0)
  wall.setUTCFullYear(parts['era'] === 'BC' ? 1 - year! : year!, month! - 1, day)
  wall.setUTCHours(clock[0]!, clock[1], clock[2])
  return wall.getTime() - Math.floor(instant / 1000) * 1000
}

/** What the zone's clocks show at that instant. */
export const wallAt = (instant: number, zone: string): WallTime => instant + offsetAt(instant, zone)

export interface LocalInstant {
  /** Milliseconds since 1970. */
  instant: number
  /** `skipped`: the clocks never show this time, and it is read as if they had not gone forward yet; `twice`: the earlier of two. */
  kind: 'once' | 'skipped' | 'twice'
}

/** Reads a time that does not exist, or exists twice, as RFC 5545 does (3.3.5). */
export function localInstantOf(wall: WallTime, zone: string): LocalInstant {
  // No zone changes its clocks twice within two days.
  const [before, after] = [offsetAt(wall - dayMs, zone), offsetAt(wall + dayMs, zone)]
  const named = [...new Set([before, after])].map((offset) => wall - offset).filter((instant) => wallAt(instant, zone) === wall)
  if (named.length === 0) return { instant: wall - before, kind: 'skipped' }
  return { instant: Math.min(...named), kind: named.length === 1 ? 'once' : 'twice' }
}

/** `+02:00`, as in RFC 3339; a few historical zones have seconds, which are omitted. */
export function formatOffset(offset: number): string {
  const minutes = Math.trunc(Math.abs(offset) / 60_000)
  const two = (part: number) => String(part).padStart(2, '0')
  return `${offset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
}

const formatters = new Map<string, Intl.DateTimeFormat>()

/** Throws RangeError for an unknown zone. */
function formatterOf(zone: string): Intl.DateTimeFormat {
  const kept = formatters.get(zone)
  if (kept !== undefined) return kept
  const formatter = new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', {
    timeZone: zone,
    hourCycle: 'h23',
    era: 'short',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  // Every spelling of a name counts as one: Intl accepts a limited number of names, but letter cases multiply them.
  if (formatters.size < 1000) formatters.set(zone, formatter)
  return formatter
}
