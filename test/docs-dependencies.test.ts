import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { importsOf } from './fixtures/architecture.ts'

const read = (path: string): string => readFileSync(join(import.meta.dirname, '..', path), 'utf8')
const { dependencies, devDependencies, engines } = JSON.parse(read('package.json')) as {
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
  engines: { node: string }
}

describe('docs/dependencies.md', () => {
  const [, atRunTime = '', forDevelopment = ''] = read('docs/dependencies.md').split(/^## (?:At run time|For development)$/m)
  const named = (section: string): string[] =>
    [...section.matchAll(/^\| (`.+?`) \|/gm)].flatMap(([, cell]) => [...cell!.matchAll(/`(.+?)`/g)].map(([, name]) => name!))

  test('says what each package in package.json is for, and lists no other', () => {
    expect(named(atRunTime)).toEqual(Object.keys(dependencies))
    expect(named(forDevelopment)).toEqual(Object.keys(devDependencies))
  })
})

describe('package.json', () => {
  test('names each package by one exact version', () => {
    const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version),
    )
    expect(loose).toEqual([])
  })

  test('asks for the major version of Node that .nvmrc names', () => {
    expect(engines.node).toMatch(new RegExp(`^>=${read('.nvmrc').trim()}\\.`))
  })
})

/** Packages that the code of processes and of their operator programs imports, by name. */
function importedPackages(): string[] {
  const root = join(import.meta.dirname, '..')
  const files = ['gateway', 'mesh', 'proto/gen', 'providers', 'services'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => join(folder, path)),
  )
  const imports = files.flatMap((path) => importsOf(path, read(path)))
  return imports.filter(({ ours, target }) => !ours && !target.startsWith('node:')).map(({ target }) => target)
}

/** Licences that allow any use and ask for no more than their text. */
const permissive = new Set(['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT', 'MIT-0'])

/** What a package says that knows no SPDX names, and the licence that its LICENSE file holds. */
const readByHand: Record<string, string> = { 'node_modules/url-template: BSD': 'BSD-3-Clause' }

/** By an SPDX expression: of alternatives one is enough, of joint licences all are needed. What is neither is for a person to judge. */
function isPermissive(expression: string | undefined): boolean {
  const names = (expression ?? '').replace(/^\((.*)\)$/, '$1').split(/ (AND|OR) /)
  const [licences, operators] = [names.filter((_, index) => index % 2 === 0), new Set(names.filter((_, index) => index % 2 === 1))]
  const allowed = (licence: string) => permissive.has(licence)
  return operators.has('OR') && operators.size === 1 ? licences.some(allowed) : licences.every(allowed)
}

describe('the packages that processes run with', () => {
  test('are exactly those that their code imports: tools and what only make up needs are not among them', () => {
    expect([...new Set(importedPackages())].toSorted()).toEqual(Object.keys(dependencies))
  })

  test('have a permissive licence, and so does each package that they bring', () => {
    const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, { dev?: boolean; license?: string }> }
    const ours = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true)
    expect(ours.length).toBeGreaterThan(Object.keys(dependencies).length)
    expect(
      ours
        .filter(([path, { license }]) => !isPermissive(readByHand[`${path}: ${license}`] ?? license))
        .map(([path, { license }]) => `${path}: ${license}`),
    ).toEqual([])
  })

  test.each(['MIT', '(Apache-2.0 AND BSD-3-Clause)', 'GPL-3.0-only OR MIT', '(MIT OR GPL-3.0-only)'])('%s is permissive', (licence) => {
    expect(isPermissive(licence)).toBe(true)
  })

  test.each([
    undefined,
    '',
    'UNLICENSED',
    'SEE LICENSE IN x',
    'AGPL-3.0-only',
    'MIT AND GPL-2.0-only',
    'MIT OR (ISC AND GPL-2.0-only) AND MIT',
  ])('%s is not', (licence) => {
    expect(isPermissive(licence)).toBe(false)
  })
})
