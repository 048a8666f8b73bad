import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { targetsOf } from '../../deploy/prometheus/targets.ts'
import { serviceNames } from '../../deploy/services.ts'
import { knownSeries, strangersIn } from './metric-names.ts'
import { root, ruleTests, rules, yaml } from './provisioned.ts'

const alerts = rules.filter((rule) => rule.alert !== undefined)
const alertNames = [...new Set(alerts.map(({ alert }) => alert!))]
const runbooks = join(root, 'docs/runbooks')
/** Groups of series, each with times at which something is expected. */
interface RuleTests {
  tests: { promql_expr_test?: { exp_samples: { labels: string }[] }[] }[]
}
const testsOf = (name: string) => (yaml('deploy/prometheus/tests', name) as RuleTests).tests
const fileOf = (alert: string): string => `${alert.replaceAll(/\B[A-Z]/g, (letter) => `-${letter}`).toLowerCase()}.md`

describe('alerts', () => {
  it('each have a runbook, and each runbook an alert', () => {
    for (const { alert, annotations } of alerts) expect(annotations?.runbook_url).toBe(`{{ $externalLabels.runbooks }}/${fileOf(alert!)}`)
    expect(
      readdirSync(runbooks)
        .filter((name) => name !== 'README.md')
        .sort(),
    ).toEqual(alertNames.map(fileOf).sort())
  })

  it.each(alertNames)('%s has a runbook that says what it means, what to look at, what to do and when it is over', (name) => {
    const text = readFileSync(join(runbooks, fileOf(name)), 'utf8')
    expect(text.match(/^#+ .*$/gm)).toEqual([`# ${name}`, '## What it means', '## What to look at', '## What to do', '## When it is over'])
  })

  it('say who is to be woken, and what is the matter in a sentence', () => {
    for (const { alert, labels, annotations } of alerts) {
      expect(labels, alert).toEqual({ severity: expect.stringMatching(/^(page|ticket)$/) })
      expect(annotations, alert).toEqual({ summary: expect.any(String), description: expect.any(String), runbook_url: expect.any(String) })
    }
  })

  it('each fire in a unit test, at one time of it and not at another', () => {
    const groups = ruleTests.flatMap((name) => testsOf(name))
    const proven = new Set<string>()
    for (const { promql_expr_test: times = [] } of groups) {
      const firing = times.map(({ exp_samples: samples }) => new Set(samples.map(({ labels }) => labels)))
      for (const labels of new Set(firing.flatMap((each) => [...each]))) if (firing.some((each) => !each.has(labels))) proven.add(labels)
    }
    const wanted = alerts.map(({ alert, labels }) => `{alertname="${alert}",severity="${labels?.severity}"}`)
    expect(wanted.filter((each) => !proven.has(each))).toEqual([])
  })
})

describe('the link of an alert to its runbook', () => {
  const { global, alerting } = yaml('deploy/prometheus/prometheus.yml') as {
    global: { external_labels?: Record<string, string> }
    alerting?: { alert_relabel_configs: { action: string; regex: string }[] }
  }

  it('is absolute: where runbooks can be read is configured, and is no label of what is sent on', () => {
    expect(global.external_labels).toEqual({ runbooks: '${RELAY_RUNBOOKS}' })
    expect(alerting?.alert_relabel_configs).toEqual([{ action: 'labeldrop', regex: 'runbooks' }])
  })
})

describe('rules', () => {
  it.each(rules.map((rule) => [rule.alert ?? rule.record!, rule.expr]))('%s names series and labels that exist', (_name, expr) => {
    expect(strangersIn(expr, knownSeries(rules))).toEqual([])
  })
})

describe('targets', () => {
  it('are every process of the mesh, under the name that it gives itself', () => {
    const targets = yaml('deploy/prometheus/targets.yml') as { labels: { service: string } }[]
    expect(targets.map(({ labels }) => labels.service).sort()).toEqual([...serviceNames, 'gateway'].sort())
  })

  it('of a mesh in local mode are its admin ports, replicas together', () => {
    const services = { actions: { admin: '127.0.0.1:2' }, 'actions-2': { admin: '127.0.0.1:3' }, access: { admin: '127.0.0.1:4' } }
    expect(targetsOf({ gateway_admin: '127.0.0.1:1', services })).toEqual([
      { targets: ['127.0.0.1:4'], labels: { service: 'access' } },
      { targets: ['127.0.0.1:2', '127.0.0.1:3'], labels: { service: 'actions' } },
      { targets: ['127.0.0.1:1'], labels: { service: 'gateway' } },
    ])
  })
})
