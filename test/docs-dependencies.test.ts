import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

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

  test('says of each package in package.json what it is for, and of no other', () => {
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
