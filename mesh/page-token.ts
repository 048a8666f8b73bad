/**
 * The end of a page, as clients pass it to the next one: the time of the last entry in microseconds since 1970, which is Postgres's
 * precision, and its id.
 */
import { meshErrors } from './errors.ts'
import { isUuid } from './uuid.ts'

export interface PageEnd {
  /** Microseconds since 1970, in decimal. */
  readonly atUs: string
  /** A UUID. */
  readonly id: string
}

/** Empty after the last page. */
export const writePageToken = (end: PageEnd | undefined): string =>
  end === undefined ? '' : Buffer.from(`${end.atUs} ${end.id}`).toString('base64url')

/** Undefined for the first page. Throws INVALID_REQUEST for text that `writePageToken` did not write. */
export function readPageToken(token: string): PageEnd | undefined {
  if (token === '') return undefined
  const match = /^(\d{1,16}) ([0-9a-f-]{36})$/.exec(Buffer.from(token, 'base64url').toString())
  if (match === null || !isUuid(match[2]!)) throw notAPageToken()
  return { atUs: match[1]!, id: match[2]! }
}

export function notAPageToken(): Error {
  const description = 'is not the next_page_token of an earlier page'
  return meshErrors.INVALID_REQUEST({ violations: [{ field: 'page_token', description }] })
}
