/**
 * The reasons of all error tables: what proto/gen/reasons.json and the tables of docs/errors.md are generated from. The gateway reads the
 * former, because it imports no service.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type ErrorRow, meshErrors } from '#mesh/errors.ts'
import { statusOf } from '#mesh/problem.ts'
import type { DocumentedReason } from '../gateway/docs/reasons.ts'
import { errors as gatewayErrors } from '../gateway/errors.ts'

interface Table {
  domain: string
  rows: Record<string, ErrorRow>
}

/** The table of every service, so that a new one needs no line here, after those of the mesh and the gateway. */
export async function errorTables(): Promise<Table[]> {
  const services = join(import.meta.dirname, '../services')
  const files = readdirSync(services)
    .toSorted()
    .map((name) => join(services, name, 'errors.ts'))
    .filter((file) => existsSync(file))
  const modules = (await Promise.all(files.map((file) => import(file)))) as { errors: Table }[]
  return [meshErrors, gatewayErrors, ...modules.map(({ errors }) => errors)]
}

export const reasonsOf = (tables: readonly Table[]): DocumentedReason[] =>
  tables.flatMap(({ domain, rows }) =>
    Object.entries(rows).map(([reason, { code, message }]) => ({
      reason,
      code,
      status: statusOf({ reason, code }),
      meaning: message,
      domain,
    })),
  )

const rowOf = ({ reason, code, status, meaning }: DocumentedReason): string =>
  `| \`${reason}\` | ${code} | ${status} | ${meaning.replaceAll(/[\\|<]/g, String.raw`\$&`)} |`

/**
 * The page with the rows of each domain under its heading (`## domain`); the text around the tables stays. Throws if a domain with reasons
 * has no heading with a table.
 */
export function withReasons(page: string, reasons: readonly DocumentedReason[]): string {
  const missing = new Set(reasons.map((reason) => reason.domain))
  let domain = ''
  const lines = page
    .split('\n')
    .filter((line) => !line.startsWith('| `'))
    .flatMap((line) => {
      domain = /^## (\w+)/.exec(line)?.[1] ?? domain
      if (line !== '|---|---|---|---|') return [line]
      missing.delete(domain)
      return [line, ...reasons.filter((reason) => reason.domain === domain).map(rowOf)]
    })
  if (missing.size > 0) throw new Error(`docs/errors.md has no table for ${[...missing].join(', ')}: add its heading and an empty table`)
  return lines.join('\n')
}
