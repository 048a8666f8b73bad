/**
 * Links into Grafana Explore for one request (https://grafana.com/docs/grafana/latest/explore/: `schemaVersion=1&panes=…`). Pure.
 *
 * A recorded trace is opened by its id, in Tempo; without one the link leads to the log lines of the request, in Loki.
 */

export interface TraceLinks {
  /** The log lines of a request that came in at `at` (epoch ms). */
  logs(requestId: string, at: number): string
  /** A trace that is recorded; undefined where no Tempo is known. */
  trace?: (traceId: string, at: number) => string
}

/** Names of the data sources as deploy/grafana provisions them. */
const loki = 'loki'
const tempo = 'tempo'
/** A request's log lines and spans lie within these of its beginning, clocks and batching included. */
const beforeMs = 60_000
const afterMs = 600_000

export function traceLinks(grafana: URL, withTempo: boolean): TraceLinks {
  const base = `${grafana.href.replace(/\/$/, '')}/explore?schemaVersion=1&orgId=1&panes=`
  const link = (datasource: string, query: Record<string, unknown>, at: number) => {
    const range = { from: String(at - beforeMs), to: String(at + afterMs) }
    return (
      base +
      encodeURIComponent(
        JSON.stringify({
          relay: { datasource, queries: [{ refId: 'A', datasource: { type: datasource, uid: datasource }, ...query }], range },
        }),
      )
    )
  }
  return {
    logs: (requestId, at) => link(loki, { expr: `{service=~".+"} | json | request_id="${requestId}"`, queryType: 'range' }, at),
    ...(withTempo ? { trace: (traceId: string, at: number) => link(tempo, { queryType: 'traceql', query: traceId }, at) } : {}),
  }
}
