import { readFileSync, readdirSync, writeFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { type ErrorRow, meshErrors } from '#mesh/errors.ts'
import { statusOf } from '#mesh/problem.ts'
import { errors as gatewayErrors } from '../gateway/errors.ts'
import { type DocumentedReason, documentedReasons, formatReason } from '../gateway/docs/reasons.ts'
import { updating } from './golden/golden.ts'

const page = join(import.meta.dirname, '../docs/errors.md')
const services = join(import.meta.dirname, '../services')

interface Table {
  domain: string
  rows: Record<string, ErrorRow>
}

const rowsOf = ({ domain, rows }: Table): DocumentedReason[] =>
  Object.entries(rows).map(([reason, { code, message }]) => ({
    reason,
    code,
    status: statusOf({ reason, code }),
    meaning: message,
    domain,
  }))

/** Writes each table's rows under its heading; what is written around them stays. */
function rewrite(markdown: string, rows: readonly DocumentedReason[]): string {
  let domain = ''
  const lines = markdown.split('\n').filter((line) => !line.startsWith('| `'))
  return lines
    .flatMap((line) => {
      domain = /^## (\w+)/.exec(line)?.[1] ?? domain
      return line === '|---|---|---|---|' ? [line, ...rows.filter((row) => row.domain === domain).map(formatReason)] : [line]
    })
    .join('\n')
}

describe('docs/errors.md', () => {
  let tables: Table[]
  beforeAll(async () => {
    const files = readdirSync(services)
      .map((name) => join(services, name, 'errors.ts'))
      .filter((file) => existsSync(file))
    const modules = (await Promise.all(files.map((file) => import(file)))) as { errors: Table }[]
    tables = [meshErrors, gatewayErrors, ...modules.map(({ errors }) => errors)]
    if (updating) writeFileSync(page, rewrite(readFileSync(page, 'utf8'), tables.flatMap(rowsOf)))
  })

  test('lists every reason with its code, HTTP status and sentence, and none that does not exist', () => {
    const listed = documentedReasons(readFileSync(page, 'utf8'))
    expect(listed).toEqual(tables.flatMap(rowsOf))
  })

  test('has a heading for every table', () => {
    const headings = [...readFileSync(page, 'utf8').matchAll(/^## (\w+)$/gm)].map((match) => match[1])
    expect(headings.toSorted()).toEqual(tables.map(({ domain }) => domain).toSorted())
  })

  test('can name a reason without its domain: it means the same in every table that has it', () => {
    const rows = tables.flatMap(rowsOf)
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
    const rows = tables.flatMap(rowsOf)
    const shared = rows.filter(({ reason }) => rows.filter((each) => each.reason === reason).length > 1)
    expect(new Set(shared.map(({ reason }) => reason))).toEqual(new Set(['NOT_CONNECTED', 'REAUTH_REQUIRED', 'CONNECTION_CHANGED']))
    expect(new Set(shared.map(({ domain }) => domain))).toEqual(new Set(['actions', 'oauth']))
  })
})
