/** The files under deploy/ that these tests are about. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import type { Rule } from './metric-names.ts'

export const root = join(import.meta.dirname, '../..')
export const prometheusFolder = join(root, 'deploy/prometheus')

export const yaml = (...path: string[]): unknown => parse(readFileSync(join(root, ...path), 'utf8'), { merge: true })

const filesOf = (folder: string, end: string): string[] => readdirSync(join(root, folder)).filter((name) => name.endsWith(end))

export const rules: readonly Rule[] = filesOf('deploy/prometheus/rules', '.yml').flatMap((name) =>
  (yaml('deploy/prometheus/rules', name) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules),
)

export const ruleTests = filesOf('deploy/prometheus/tests', '.yml')

export interface TargetJson {
  readonly datasource: { readonly uid: string }
  readonly expr?: string
  readonly query?: string
  readonly exemplar?: boolean
}

export interface PanelJson {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly datasource?: { readonly uid: string }
  readonly targets?: readonly TargetJson[]
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } }
}

export interface DashboardJson {
  readonly uid: string
  readonly title: string
  readonly panels: readonly PanelJson[]
  readonly annotations: { readonly list: readonly { readonly expr: string }[] }
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition: string; readonly allValue: string }[] }
}

export const dashboardFiles: Readonly<Record<string, string>> = Object.fromEntries(
  filesOf('deploy/grafana/dashboards', '.json').map((name) => [name, readFileSync(join(root, 'deploy/grafana/dashboards', name), 'utf8')]),
)

export const dashboards: readonly DashboardJson[] = Object.values(dashboardFiles).map((text) => JSON.parse(text) as DashboardJson)

export interface DataSource {
  readonly uid: string
  readonly type: string
  readonly url: string
  readonly jsonData: Readonly<Record<string, unknown>>
}

export const { datasources: dataSources } = yaml('deploy/grafana/provisioning/datasources/relay.yml') as { datasources: DataSource[] }

/** What a data source is told beside where it is. */
export function jsonOf(uid: string): DataSource['jsonData'] {
  const found = dataSources.find((each) => each.uid === uid)
  if (found === undefined) throw new Error(`no data source ${uid} is provisioned`)
  return found.jsonData
}

/** A query as it is once Grafana has filled in its variables. */
export const filled = (query: string): string =>
  query
    .replaceAll('$__rate_interval', '5m')
    .replaceAll(/\$\$?__tags/g, 'service="actions"')
    .replaceAll(/\$\$\{__tags\}/g, 'service="actions"')
    .replaceAll(/\$\$\{__span\.traceId\}/g, '4bf92f3577b34da6a3ce929d0e0e4736')
    .replaceAll(/\$(?:service|provider|action)\b/g, '.*')

/** Every PromQL query of dashboards and links, with where it stands. */
export const queries: readonly { at: string; expr: string }[] = [
  ...dashboards.flatMap(({ uid, panels, annotations, templating }) => [
    ...panels.flatMap(({ title, targets = [] }) =>
      targets.flatMap(({ datasource, expr = '' }) => (datasource.uid === 'prometheus' ? [{ at: `${uid}: ${title}`, expr }] : [])),
    ),
    ...annotations.list.map(({ expr }) => ({ at: `${uid}: an annotation`, expr })),
    ...templating.list.map(({ name, definition }) => {
      const [, series = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? []
      return { at: `${uid}: $${name}`, expr: `count by (${label}) (${series})` }
    }),
  ]),
  ...(jsonOf('tempo').tracesToMetrics as { queries: { name: string; query: string }[] }).queries.map(({ name, query }) => ({
    at: `trace to metrics: ${name}`,
    expr: query,
  })),
].map(({ at, expr }) => ({ at, expr: filled(expr) }))
