/**
 * Times in RFC 3339 (https://www.rfc-editor.org/rfc/rfc3339#section-5.6). A time that does not exist is invalid: the 30th of February and
 * the hour 24, which `new Date` reads as the days after, and leap seconds, which no clock here shows. Pure.
 */

const dateTime = /^(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d+))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))$/

/** To the millisecond: finer digits are cut off. Undefined if it is not a time, or not one of the years 0000 to 9999 in UTC. */
export function parseTime(text: string): Date | undefined {
  const [, day, clock, fraction = '', sign, hours = '0', minutes = '0'] = dateTime.exec(text) ?? []
  const local = Date.parse(`${day}T${clock}Z`)
  // If Date changes it to another time, it is not the time that was written.
  if (Number.isNaN(local) || new Date(local).toISOString().slice(0, 19) !== `${day}T${clock}`) return undefined
  const offset = (Number(hours) * 60 + Number(minutes)) * 60_000
  const at = new Date(local + Number(fraction.slice(0, 3).padEnd(3, '0')) - (sign === '-' ? -offset : offset))
  return /^\d{4}-/.test(at.toISOString()) ? at : undefined
}

/** The same, and shorter forms: a day, at its beginning in UTC, and a time without seconds. */
export function parseTimeOrDay(text: string): Date | undefined {
  if (/^\d{4}-\d{2}-\d{2}$/.test(text)) return parseTime(`${text}T00:00:00Z`)
  return parseTime(text.replace(/^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(Z|[+-]\d{2}:\d{2})$/, '$1:00$2'))
}
