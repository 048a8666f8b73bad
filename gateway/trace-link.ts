/**
 * X-Trace-Link: into Grafana Explore for one request (https://grafana.com/docs/grafana/latest/explore/: `schemaVersion=1&panes=…`). Pure.
 *
 * If Tempo is configured, the link opens the trace itself, and requests without a recorded trace have no link. Otherwise the link opens the
 * log lines of the request, in Loki.
 */
import type { TraceContext } from '#mesh/telemetry/trace-context.ts'

/** For a request that arrived at `at`, in milliseconds since 1970. */
export type TraceLink = (requestId: string, trace: TraceContext, at: number) => string | undefined

/** Names of the data sources, as deploy/grafana provisions them. */
const loki = 'loki'
const tempo = 'tempo'
/** A request's log lines and spans lie within these times of its start, including clock skew and batching. */
const beforeMs = 60_000
const afterMs = 600_000

export function traceLink(grafana: URL, withTempo: boolean): TraceLink {
  const base = `${grafana.href.replace(/\/$/, '')}/explore?schemaVersion=1&orgId=1&panes=`
  if (withTempo) {
    const link = linkInto(base, tempo, { queryType: 'traceql', query: idPlace })
    return (_requestId, trace, at) => (trace.sampled ? link(trace.traceId, at) : undefined)
  }
  const link = linkInto(base, loki, { expr: `{service=~".+"} | json | request_id="${idPlace}"`, queryType: 'range' })
  return (requestId, _trace, at) => link(requestId, at)
}

/** Placeholders of the id and the times: words that URL encoding does not change. */
const [idPlace, fromPlace, toPlace] = ['REQUESTED', 'BEGINNING', 'END']

/** Everything but the id and the times is built once: building a link per request would cost more than its log line. */
function linkInto(base: string, datasource: string, query: Record<string, unknown>): (id: string, at: number) => string {
  const panes = {
    relay: {
      datasource,
      queries: [{ refId: 'A', datasource: { type: datasource, uid: datasource }, ...query }],
      range: { from: fromPlace, to: toPlace },
    },
  }
  const parts = (base + encodeURIComponent(JSON.stringify(panes))).split(new RegExp(`${idPlace}|${fromPlace}|${toPlace}`))
  return (id, at) => `${parts[0]}${id}${parts[1]}${at - beforeMs}${parts[2]}${at + afterMs}${parts[3]}`
}
