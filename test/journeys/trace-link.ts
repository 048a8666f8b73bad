/** The X-Trace-Link of an answer, by the schema of Grafana Explore's URLs (https://grafana.com/docs/grafana/latest/explore/). */
import { z } from 'zod'
import type { Reply } from './journey.ts'

const milliseconds = z.string().regex(/^\d{13}$/)
const panes = z.strictObject({
  relay: z.strictObject({
    datasource: z.string(),
    queries: z.tuple([
      z.strictObject({
        refId: z.literal('A'),
        datasource: z.strictObject({ type: z.string(), uid: z.string() }),
        queryType: z.string(),
        query: z.string().optional(),
        expr: z.string().optional(),
      }),
    ]),
    range: z.strictObject({ from: milliseconds, to: milliseconds }),
  }),
})

export type Pane = z.output<typeof panes>['relay']

/** Throws for an answer without one, or with one that Explore would not open. */
export function linkOf({ headers }: Reply): { origin: string; pane: Pane } {
  const { origin, pathname, searchParams } = new URL(String(headers['x-trace-link']))
  const { schemaVersion, panes: json } = Object.fromEntries(searchParams)
  if (pathname !== '/explore' || schemaVersion !== '1') throw new Error(`no link into Explore: ${String(headers['x-trace-link'])}`)
  return { origin, pane: panes.parse(JSON.parse(json!)).relay }
}

/** The trace that it opens. */
export function traceIdOf(reply: Reply): string {
  const { query } = linkOf(reply).pane.queries[0]
  if (query === undefined || !/^[0-9a-f]{32}$/.test(query)) throw new Error(`the link opens no trace: ${query}`)
  return query
}
