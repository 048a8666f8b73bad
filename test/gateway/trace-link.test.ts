import { describe, expect, test } from 'vitest'
import { newTrace } from '#mesh/telemetry/trace-context.ts'
import { traceLink } from '../../gateway/trace-link.ts'

const at = Date.UTC(2025, 9, 6, 7, 0, 0)
const toLogs = traceLink(new URL('https://grafana.example'), false)
const toTrace = traceLink(new URL('https://grafana.example'), true)
const open = (link: string) => {
  const url = new URL(link)
  const panes = JSON.parse(url.searchParams.get('panes')!) as Record<
    string,
    { datasource: string; queries: Record<string, unknown>[]; range: { from: string; to: string } }
  >
  return { url, pane: Object.values(panes)[0]! }
}

describe('a link into Grafana Explore', () => {
  test('leads to the log lines of the request', () => {
    const { url, pane } = open(toLogs('5f0c', newTrace(true), at)!)
    expect(url.origin + url.pathname).toBe('https://grafana.example/explore')
    expect(url.searchParams.get('schemaVersion')).toBe('1')
    expect(pane.datasource).toBe('loki')
    expect(pane.queries[0]!.expr).toContain('request_id="5f0c"')
  })

  test('leads to the very trace where Tempo is known', () => {
    const trace = newTrace(true)
    const { pane } = open(toTrace('5f0c', trace, at)!)
    expect(pane.datasource).toBe('tempo')
    expect(pane.queries[0]).toMatchObject({ query: trace.traceId, queryType: 'traceql', datasource: { type: 'tempo', uid: 'tempo' } })
  })

  test('is not given for a trace that nobody can find', () => {
    expect(toTrace('5f0c', newTrace(false), at)).toBeUndefined()
  })

  test('covers the time of the request, and not all of time', () => {
    const { pane } = open(toLogs('5f0c', newTrace(true), at)!)
    expect(Number(pane.range.from)).toBeLessThan(at)
    expect(Number(pane.range.to)).toBeGreaterThan(at)
    expect(Number(pane.range.to) - Number(pane.range.from)).toBeLessThan(3_600_000)
  })

  test('keeps the path under which Grafana is served', () => {
    for (const base of ['https://ops.example/grafana', 'https://ops.example/grafana/']) {
      expect(traceLink(new URL(base), false)('5f0c', newTrace(), at)).toMatch(/^https:\/\/ops\.example\/grafana\/explore\?/)
    }
  })
})
