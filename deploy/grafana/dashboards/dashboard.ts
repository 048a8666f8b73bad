/** A dashboard: rows of panels put into place, with what is the same for all of them. */
import type { Panel } from './panel.ts'

export interface Variable {
  readonly name: string
  readonly label: string
  /** A PromQL `label_values(…)`. */
  readonly query: string
}

export interface DashboardWords {
  uid: string
  title: string
  description: string
  variables?: readonly Variable[]
  rows: readonly { readonly title: string; readonly panels: readonly Panel[] }[]
}

const columns = 24

/** All of them, so that each leads to the others; with the time, and the service where there is one. */
const tag = 'relay'

/** Grafana's JSON, with every id and uid fixed. */
export function dashboard({ uid, title, description, variables = [], rows }: DashboardWords) {
  const panels: object[] = []
  let y = 0
  const add = (panel: object, x: number, y: number, w: number, h: number) =>
    panels.push({ id: panels.length + 1, ...panel, gridPos: { x, y, w, h } })
  for (const row of rows) {
    add({ type: 'row', title: row.title, collapsed: false, panels: [] }, 0, y, columns, 1)
    y += 1
    let [x, tallest] = [0, 0]
    for (const { width, height, ...panel } of row.panels) {
      if (x + width > columns) [x, y, tallest] = [0, y + tallest, 0]
      add(panel, x, y, width, height)
      x += width
      tallest = Math.max(tallest, height)
    }
    y += tallest
  }
  return {
    uid,
    title,
    description,
    tags: [tag],
    schemaVersion: 39,
    version: 1,
    editable: false,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'utc',
    links: [{ type: 'dashboards', title: 'Relay', tags: [tag], asDropdown: false, includeVars: true, keepTime: true, icon: 'dashboard' }],
    annotations: {
      list: [
        {
          name: 'Restarts',
          datasource: { type: 'prometheus', uid: 'prometheus' },
          enable: true,
          iconColor: 'blue',
          expr: 'changes(process_start_time_seconds{job="relay"}[1m]) > 0',
          titleFormat: '{{service}} started',
          textFormat: '{{instance}}',
        },
      ],
    },
    templating: { list: variables.map(variable) },
    panels,
  }
}

const variable = ({ name, label, query }: Variable) => ({
  type: 'query',
  name,
  label,
  datasource: { type: 'prometheus', uid: 'prometheus' },
  query: { query, refId: name },
  definition: query,
  refresh: 2,
  sort: 1,
  includeAll: true,
  // At least one character: Loki refuses a selector that also matches lines without the label.
  allValue: '.+',
  multi: false,
  current: { text: 'All', value: '$__all' },
})
