/**
 * The reasons of the gateway and all services, read from docs/errors.md, because the gateway imports no service. A test keeps that page
 * complete.
 */

export interface DocumentedReason {
  reason: string
  /** The gRPC code. */
  code: string
  /** The HTTP status. */
  status: number
  meaning: string
  /** The owner: mesh, gateway, or a service. */
  domain: string
}

/** The rows of the page's tables, each under the heading of its domain. */
export function documentedReasons(markdown: string): DocumentedReason[] {
  const reasons: DocumentedReason[] = []
  let domain = ''
  for (const line of markdown.split('\n')) {
    domain = /^## (\w+)/.exec(line)?.[1] ?? domain
    const row = /^\| `([A-Z_]+)` \| ([A-Z_]+) \| (\d{3}) \| (.+) \|$/.exec(line)
    if (row !== null)
      reasons.push({ reason: row[1]!, code: row[2]!, status: Number(row[3]), meaning: row[4]!.replaceAll(/\\(.)/g, '$1'), domain })
  }
  return reasons
}

export const formatReason = ({ reason, code, status, meaning }: DocumentedReason): string =>
  `| \`${reason}\` | ${code} | ${status} | ${meaning.replaceAll(/[\\|<]/g, String.raw`\$&`)} |`
