import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const read = (name: string) => readFileSync(join(import.meta.dirname, name), 'utf8')

/** `metric | type | labels | in` of each in the list; Node's own but for those that the page speaks of. */
function listed(documented: ReadonlySet<string>): string[] {
  const found = new Map<string, string[]>()
  for (const line of read('golden/metrics.txt').trimEnd().split('\n')) {
    const [where, name, type, labels] = line.split(' ') as [string, string, string, string]
    if (/^(?:nodejs|process)_/.test(name) && !documented.has(name)) continue
    const row = `${name} | ${type} | ${labels.slice(1, -1).replaceAll(',', ', ')}`
    found.set(row, [...(found.get(row) ?? []), where.replace('-', ' ')])
  }
  return [...found].map(([row, where]) => `${row} | ${where.join(', ')}`)
}

test('docs/metrics.md has every metric that there is, with its type, its labels and where it is, and none that does not exist', () => {
  const rows = [...read('../docs/metrics.md').matchAll(/^\| `(\w+)` \| (\w+) \| ([\w, ]*) \| ([\w, ]+) \| .{10,} \|$/gm)]
  const documented = rows.map(([, ...cells]) => cells.slice(0, 4).join(' | '))
  expect(documented.toSorted()).toEqual(listed(new Set(rows.map((row) => row[1]!))).toSorted())
})
