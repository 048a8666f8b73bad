/** A time as a bound of a filter over the log. No entry is from before 1970 (event-schema.ts), and Postgres has no year 0. Pure. */
export const boundOf = (time: Date): string => new Date(Math.max(0, time.getTime())).toISOString()
