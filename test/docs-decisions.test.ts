import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const folder = join(root, 'docs/decisions')
const read = (file: string): string => readFileSync(join(folder, file), 'utf8')
const files = readdirSync(folder)
  .filter((file) => file !== 'README.md')
  .toSorted()
/** Everything that people write: pages, code and contracts. */
const sources = ['bench', 'deploy', 'docs', 'gate', 'gateway', 'mesh', 'proto', 'services', 'test'].flatMap((part) =>
  readdirSync(join(root, part), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.(?:md|ts|proto|ya?ml)$/.test(path))
    .map((path) => join(root, part, path)),
)

describe('the decisions', () => {
  test('have the numbers from 1 upward, each once', () => {
    const expected = files.map((_, index) => String(index + 1).padStart(4, '0'))
    expect(files.map((file) => file.slice(0, 4))).toEqual(expected)
  })

  test('are all in the index, in order, under their number and title', () => {
    const rows = [...read('README.md').matchAll(/^\| (\d{4}) \| \[(.+)\]\((.+)\) \|$/gm)].map(
      ([, number, title, file]) => `${file}: # ${number} · ${title}`,
    )
    expect(rows).toEqual(files.map((file) => `${file}: ${read(file).split('\n', 1)[0]}`))
  })

  test('exist wherever a page or a comment names one', () => {
    const named = sources.flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(/(?:decisions?[ /]|\]\()(\d{4}(?:-[\w-]+\.md)?)/gi)].map(([, name]) => `${path}: ${name}`),
    )
    expect(named.length).toBeGreaterThan(10)
    expect(named.filter((mention) => !files.some((file) => file.startsWith(mention.split(': ')[1]!)))).toEqual([])
  })
})
