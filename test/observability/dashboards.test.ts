import { describe, expect, it } from 'vitest'
import { dashboards as source, textOf } from '../../deploy/grafana/dashboards/build.ts'
import { traceLink } from '../../gateway/trace-link.ts'
import { knownSeries, strangersIn } from './metric-names.ts'
import { dashboardFiles, dashboards, dataSources, filled, jsonOf, queries, rules, yaml } from './provisioned.ts'

const known = knownSeries(rules)
const uids = new Set(dataSources.map(({ uid }) => uid))
const panels = dashboards.flatMap((dashboard) => dashboard.panels.map((panel) => ({ at: `${dashboard.uid}: ${panel.title}`, ...panel })))
const requests = panels.flatMap(({ at, targets = [] }) => targets.map((target) => ({ at, ...target })))

/** What spans carry: docs and code use no others. */
const attributes = new Set([
  // TraceQL's own, and their values.
  'kind',
  'status',
  'duration',
  'error',
  'server',
  ...['service.name', 'service.namespace', 'service.version', 'deployment.environment.name'].map((name) => `resource.${name}`),
  ...['http.request.method', 'http.route', 'url.scheme', 'http.response.status_code', 'error.type'].map((name) => `span.${name}`),
  ...['request_id', 'workspace_id', 'run_id', 'replayed', 'action', 'provider', 'run_status', 'reason'].map((name) => `span.relay.${name}`),
  ...['rpc.system.name', 'rpc.method', 'rpc.response.status_code', 'peer.service', 'server.address', 'server.port'].map(
    (name) => `span.${name}`,
  ),
  ...['db.system.name', 'db.namespace', 'db.query.summary', 'db.operation.name', 'db.response.status_code'].map((name) => `span.${name}`),
])

/** What lines of logs carry that queries go by. */
const logFields = new Set(['service', 'level', 'trace_id', 'span_id', 'request_id', 'workspace_id', 'run_id', 'reason', 'json'])

const wordsOf = (query: string): string[] => query.replaceAll(/"[^"]*"/g, '').match(/[a-zA-Z][\w.]*/g) ?? []

describe('dashboards', () => {
  it('are what their source makes', () => {
    expect(dashboardFiles).toEqual(Object.fromEntries(Object.entries(source).map(([name, each]) => [name, textOf(each)])))
  })

  it('have uids of their own, and their panels ids of their own', () => {
    expect(new Set(dashboards.map(({ uid }) => uid)).size).toBe(dashboards.length)
    for (const { uid, panels: all } of dashboards) expect(new Set(all.map(({ id }) => id)).size, uid).toBe(all.length)
  })

  it('lead to dashboards that there are', () => {
    const linked = Object.values(dashboardFiles).flatMap((text) => [...text.matchAll(/"url": "\/d\/([\w-]+)/g)].map(([, uid]) => uid))
    expect(linked.length).toBeGreaterThan(0)
    expect(linked.filter((uid) => !dashboards.some((dashboard) => dashboard.uid === uid))).toEqual([])
  })

  it('say of every panel what it shows, and of every number in what', () => {
    for (const { at, type, description, fieldConfig } of panels.filter((panel) => panel.type !== 'row')) {
      expect(description, at).toMatch(/\.$/)
      if (type === 'timeseries' || type === 'stat') expect(fieldConfig?.defaults.unit, at).toBeDefined()
    }
  })

  it.each(queries.map(({ at, expr }) => [at, expr]))('%s asks for series and labels that exist', (_at, expr) => {
    expect(strangersIn(expr, known)).toEqual([])
  })

  it('ask data sources that are provisioned', () => {
    const named = [...panels.flatMap(({ datasource }) => datasource?.uid ?? []), ...requests.map(({ datasource }) => datasource.uid)]
    expect(named.filter((uid) => !uids.has(uid))).toEqual([])
  })

  it('show exemplars where metrics have them, and nowhere else', () => {
    const have = /(?:http_request_duration|grpc_server_handling|action_latency)_seconds_bucket/
    for (const { at, expr, exemplar } of requests) if (exemplar === true) expect(expr, at).toMatch(have)
    expect(requests.filter(({ exemplar }) => exemplar).length).toBeGreaterThan(3)
  })

  it('find traces by attributes that spans have', () => {
    const traceQl = requests.filter(({ datasource }) => datasource.uid === 'tempo')
    expect(traceQl).toHaveLength(3)
    for (const { at, query } of traceQl) {
      const words = wordsOf(query!.replaceAll(/\d+ms/g, ''))
      expect(
        words.filter((word) => !attributes.has(word)),
        at,
      ).toEqual([])
    }
  })

  it('find log lines by fields that lines have', () => {
    const logQl = requests.filter(({ datasource }) => datasource.uid === 'loki')
    expect(logQl).toHaveLength(3)
    for (const { at, expr } of logQl)
      expect(
        wordsOf(expr!).filter((word) => !logFields.has(word)),
        at,
      ).toEqual([])
  })
})

/** What Grafana puts in the place of a variable for which "All" is chosen. */
const allOf = (query: string, variables: readonly { readonly name: string; readonly allValue: string }[]): string =>
  variables.reduce((text, { name, allValue }) => text.replaceAll(new RegExp(String.raw`\$${name}\b`, 'g'), () => allValue), query)

/** Loki refuses a selector whose every matcher also matches a line without the label. */
const refusedByLoki = (selector: string): boolean =>
  [...selector.matchAll(/\w+\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].every(([, operator, value]) => {
    const matchesEmpty = operator!.includes('~') ? new RegExp(`^(?:${value!})$`).test('') : value === ''
    return operator!.startsWith('!') ? !matchesEmpty : matchesEmpty
  })

describe('"All" of a variable', () => {
  it('is a value that no series and no line lacks: Loki takes every selector', () => {
    expect(refusedByLoki('{service=~".*"}')).toBe(true)
    const selectors = dashboards.flatMap(({ panels: all, templating }) =>
      all.flatMap(({ title, targets = [] }) =>
        targets
          .filter(({ datasource }) => datasource.uid === 'loki')
          .map(({ expr }) => ({ title, selector: /^\{[^}]*\}/.exec(allOf(expr!, templating.list))?.[0] ?? '' })),
      ),
    )
    expect(selectors).toHaveLength(3)
    expect(selectors.filter(({ selector }) => refusedByLoki(selector))).toEqual([])
  })
})

describe('data sources', () => {
  it('have the uids that X-Trace-Link names', () => {
    const grafana = new URL('https://grafana.example.com')
    const trace = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', sampled: true }
    const links = [false, true].map((withTempo) => traceLink(grafana, withTempo)('request', trace, 1e12)!)
    const named = links.map((link) => {
      const panes = JSON.parse(new URL(link).searchParams.get('panes')!) as Record<string, { datasource: string }>
      return Object.values(panes)[0]!.datasource
    })
    expect(named.map((uid) => dataSources.find((each) => each.uid === uid)?.type)).toEqual(['loki', 'tempo'])
  })

  it('lead from a trace to its logs and metrics, from a line to its trace, and from a point to its trace', () => {
    expect(jsonOf('tempo')).toMatchObject({
      tracesToLogsV2: { datasourceUid: 'loki', tags: [{ key: 'service.name', value: 'service' }] },
      tracesToMetrics: { datasourceUid: 'prometheus', tags: [{ key: 'service.name', value: 'service' }] },
    })
    expect(jsonOf('loki')).toMatchObject({ derivedFields: [{ datasourceUid: 'tempo' }] })
    expect(jsonOf('prometheus')).toMatchObject({ exemplarTraceIdDestinations: [{ name: 'trace_id', datasourceUid: 'tempo' }] })
  })

  it('find the trace id in a line as the processes write it', () => {
    const [{ matcherRegex }] = jsonOf('loki').derivedFields as [{ matcherRegex: string }]
    const id = '4bf92f3577b34da6a3ce929d0e0e4736'
    const line = JSON.stringify({ level: 'info', time: '2026-01-01T00:00:00.000Z', service: 'actions', trace_id: id, msg: 'a call' })
    expect(new RegExp(matcherRegex).exec(line)?.[1]).toBe(id)
  })

  it('find the lines of a trace by the label and the field that lines have', () => {
    const { query } = jsonOf('tempo').tracesToLogsV2 as { query: string }
    expect(filled(query)).toBe('{service="actions"} | json | trace_id="4bf92f3577b34da6a3ce929d0e0e4736"')
  })

  it('draw a map of services only from metrics that Tempo makes', () => {
    const { overrides, metrics_generator: generator } = yaml('deploy/tempo/tempo.yaml') as {
      overrides: { defaults: { metrics_generator: { processors: string[] } } }
      metrics_generator: { storage: { remote_write: { url: string }[] } }
    }
    expect(jsonOf('tempo').serviceMap).toEqual({ datasourceUid: 'prometheus' })
    expect(overrides.defaults.metrics_generator.processors).toContain('service-graphs')
    expect(generator.storage.remote_write).toHaveLength(1)
  })

  it('open the trace of a point also where Tempo made the point: it names the trace by the same label', () => {
    const { overrides } = yaml('deploy/tempo/tempo.yaml') as {
      overrides: { defaults: { metrics_generator: { trace_id_label_name?: string } } }
    }
    const [{ name }] = jsonOf('prometheus').exemplarTraceIdDestinations as [{ name: string }]
    expect(overrides.defaults.metrics_generator.trace_id_label_name).toBe(name)
  })

  it('find a trace as soon as its spans are there: Tempo holds nothing back', () => {
    const { query_frontend: frontend } = yaml('deploy/tempo/tempo.yaml') as { query_frontend?: { query_end_cutoff?: string } }
    expect(frontend?.query_end_cutoff).toBe('0s')
  })
})
