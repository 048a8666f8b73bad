import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { full } from '../setup/seed.ts'
import { promtool, promtoolNeeds } from './promtool.ts'
import { prometheusFolder, queries, ruleTests } from './provisioned.ts'

/** Days of samples: they take longer than all others together. */
const long = (name: string): boolean => name.startsWith('slo')

describe('promtool', promtoolNeeds, () => {
  it('takes the configuration with its rules', async () => {
    expect(await promtool('check', 'config', join(prometheusFolder, 'prometheus.yml'))).not.toContain('FAILED')
  })

  it('finds that alerts fire when they should, and not when they should not', async () => {
    const files = ruleTests.filter((name) => full || !long(name))
    expect(await promtool('test', 'rules', ...files.map((name) => join(prometheusFolder, 'tests', name)))).not.toContain('FAILED')
  })

  it('can read every query of dashboards and links', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'relay-queries-'))
    try {
      const file = join(folder, 'queries.yml')
      const rules = queries.map(({ expr }, index) => ({ record: `query_${index}`, expr }))
      writeFileSync(file, stringify({ groups: [{ name: 'queries', rules }] }))
      expect(await promtool('check', 'rules', file)).toContain(`${queries.length} rules found`)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
