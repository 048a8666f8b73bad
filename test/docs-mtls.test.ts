import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { serviceNames } from '../deploy/services.ts'

const page = readFileSync(join(import.meta.dirname, '../docs/mtls.md'), 'utf8')
const processes = [...serviceNames, 'gateway'].toSorted()

test('docs/mtls.md makes a certificate for every process of the mesh, and for Envoy', () => {
  const [, list = ''] = /^for service in (.+); do$/m.exec(page) ?? []
  expect(list.split(' ').toSorted()).toEqual([...processes, 'envoy'].toSorted())
})

test('docs/mtls.md names every process that is to be given one', () => {
  const [, list = ''] = /every process of the mesh \(([\w, ]+)\)/.exec(page) ?? []
  expect(list.split(', ').toSorted()).toEqual(processes)
})
