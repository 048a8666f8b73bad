import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { documentedReasons } from '../gateway/docs/reasons.ts'
import { errorTables, reasonsOf, withReasons } from '../proto/reasons.ts'

const page = readFileSync(join(import.meta.dirname, '../docs/errors.md'), 'utf8')
const tables = await errorTables()
const rows = reasonsOf(tables)

describe('the documented reasons', () => {
  test('are those of the error tables, in the page of errors and in what the gateway reads', () => {
    expect(documentedReasons()).toEqual(rows)
    expect(withReasons(page, rows)).toBe(page)
  })

  test('have a heading for every table', () => {
    const headings = [...page.matchAll(/^## (\w+)$/gm)].map((match) => match[1])
    expect(headings.toSorted()).toEqual(tables.map(({ domain }) => domain).toSorted())
  })

  test('follow the error tables: a changed sentence, a new reason and a removed one show in the page', () => {
    const [first, ...others] = rows
    const changed = { ...first!, meaning: 'Uses | and <b>.' }
    const added = { ...first!, reason: 'ADDED' }
    const written = withReasons(page, [changed, added, ...others.slice(1)])
    expect(written).toContain(String.raw`| Uses \| and \<b>. |`)
    expect(written).toContain('| `ADDED` |')
    expect(written).not.toContain(`| \`${others[0]!.reason}\` |`)
    expect(withReasons(written, rows)).toBe(page)
  })

  test('of a domain without a table in the page are an error', () => {
    expect(() => withReasons(page, [...rows, { ...rows[0]!, domain: 'added' }])).toThrow('no table for added')
  })

  test('can name a reason without its domain: it means the same in every table that has it', () => {
    for (const { reason, code, domain } of rows) {
      const others = rows.filter((each) => each.reason === reason)
      expect(new Set(others.map((each) => each.code)), `${reason} of ${domain}`).toEqual(new Set([code]))
      expect(
        others.filter((each) => each.domain === domain),
        `${reason} of ${domain}`,
      ).toHaveLength(1)
    }
  })

  test('lets only the services that accounts are connected for share reasons, and only those about that', () => {
    const shared = rows.filter(({ reason }) => rows.filter((each) => each.reason === reason).length > 1)
    expect(new Set(shared.map(({ reason }) => reason))).toEqual(new Set(['NOT_CONNECTED', 'REAUTH_REQUIRED', 'CONNECTION_CHANGED']))
    expect(new Set(shared.map(({ domain }) => domain))).toEqual(new Set(['actions', 'oauth']))
  })
})
