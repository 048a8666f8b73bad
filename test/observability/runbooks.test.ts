import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { knownSeries, strangersIn } from './metric-names.ts'
import { dashboardFiles, dashboards, root, rules } from './provisioned.ts'

const folder = join(root, 'docs/runbooks')
const runbooks = readdirSync(folder).map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }))
const known = knownSeries(rules)

const sources = ['gateway', 'mesh', 'services'].flatMap((part) =>
  readdirSync(join(root, part), { recursive: true, encoding: 'utf8' }).flatMap((path) =>
    path.endsWith('.ts') ? [readFileSync(join(root, part, path), 'utf8')] : [],
  ),
)

/** Words in italics that are no panel: menus of Prometheus, folders of a mailbox. */
const otherwise = new Set(['Status → Targets', 'Sent', 'page', 'ticket'])
const shown = new Set(dashboards.flatMap(({ title, panels }) => [title, ...panels.map((panel) => panel.title)]))

describe.each(runbooks)('$name', ({ text }) => {
  const code = [...text.matchAll(/`([^`]+)`/g)].map(([, inside]) => inside!.replaceAll(/\s+/g, ' '))

  it('asks for series and labels that exist', () => {
    const promQl = code.filter((each) => /\b(?:rate|histogram_quantile|count|sum)\b.*\(/.test(each) && !each.startsWith('SELECT'))
    expect(promQl.flatMap((each) => strangersIn(each, known))).toEqual([])
    const names = code.filter((each) =>
      /^[a-z]+(?:_[a-z]+)*_(?:total|seconds|backlog|letters|rejected|overlaps|up|claims|waiting)$/.test(each),
    )
    expect(names.filter((name) => !known.has(name) && !known.has(`${name}_count`))).toEqual([])
  })

  it('leads to files and panels that there are', () => {
    const links = [...text.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path!)
    expect(links.filter((path) => !existsSync(join(folder, path)))).toEqual([])
    const named = [...text.matchAll(/(?<!\*)\*([^*]+)\*(?!\*)/g)].map(([, title]) => title!.replaceAll(/\s+/g, ' '))
    expect(named.filter((title) => !shown.has(title) && !otherwise.has(title))).toEqual([])
  })

  it('looks for lines that the processes write', () => {
    const lines = [...text.replaceAll(/\s+/g, ' ').matchAll(/\|= "([^"]+)"/g)].map(([, line]) => line!)
    expect(lines.filter((line) => !sources.some((source) => source.includes(line)))).toEqual([])
  })
})

it('dashboards look for lines that the processes write', () => {
  const lines = Object.values(dashboardFiles).flatMap((text) => [...text.matchAll(/\|= \\"(.+?)\\"/g)].map(([, line]) => line!))
  expect(lines.length).toBeGreaterThan(0)
  expect(lines.filter((line) => !sources.some((source) => source.includes(line)))).toEqual([])
})
