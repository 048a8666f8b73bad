import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { migrationVariables } from '../../deploy/migration-variables.ts'
import { needsOf, processNames, serviceNames, serviceOf, services, startOrder, withDatabase } from '../../deploy/services.ts'

const root = join(import.meta.dirname, '../../services')
const filesOf = (service: string) => readdirSync(join(root, service))

describe('the table of services', () => {
  test('has every folder of services/, and no other', () => {
    expect(serviceNames.toSorted()).toEqual(readdirSync(root).toSorted())
  })

  test.each(serviceNames)('gives %s a database if it has migrations, and the programs that are in its folder', (name) => {
    expect('database' in services[name]).toBe(filesOf(name).includes('migrations'))
    const programs = filesOf(name).flatMap((file) => /^(.*)\.cli\.ts$/.exec(file)?.slice(1) ?? [])
    expect((needsOf(name).programs ?? []).toSorted()).toEqual(programs.toSorted())
  })

  test('starts every process once, after all that it calls', () => {
    const order = startOrder()
    expect(order.flat().toSorted()).toEqual(processNames.toSorted())
    expect(order.at(-1)).toEqual(['gateway'])
    for (const [index, group] of order.entries()) {
      const before = order.slice(0, index).flat()
      for (const name of group) expect(before, name).toEqual(expect.arrayContaining([...needsOf(name).calls]))
    }
  })

  test('is what relay-migrate knows, and names the owner of each program', () => {
    expect(Object.keys(migrationVariables)).toEqual(withDatabase.toSorted())
    expect(serviceOf('relay-oauth')).toBe('oauth')
    expect(serviceOf('relay-audit')).toBe('access')
  })
})
