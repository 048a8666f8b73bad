import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Limits, defaultLimits } from '../../../services/ratelimit/limits.ts'

const perMinute = (limit: number) => ({ limit, windowMs: 60_000 })
const entries = (...pairs: string[]) =>
  pairs.map((pair) => {
    const [key, value] = pair.split('=') as [string, string]
    return { key, value }
  })

const file = `
domain: relay
descriptors:
  - key: workspace
    rate_limit: { unit: minute, requests_per_unit: 600 }
  - key: workspace
    value: acme
    rate_limit: { unit: MINUTE, requests_per_unit: 6000 }
    descriptors:
      - key: action
        rate_limit: { unit: minute, requests_per_unit: 10 }
  - key: workspace
    value: ours
    rate_limit: { unlimited: true }
  - key: closed
    rate_limit: { unit: minute, requests_per_unit: 0 }
---
domain: edge
descriptors:
  - key: address
    rate_limit: { unit: minute, requests_per_unit: 5 }
`

describe('which rule a descriptor falls under', () => {
  const limits = Limits.parse(file, 'limits.yaml')
  test.each([
    ['any value', 'relay', entries('workspace=globex'), perMinute(600)],
    ['the very value before any', 'relay', entries('workspace=acme'), perMinute(6000)],
    ['a nested rule', 'relay', entries('workspace=acme', 'action=webhook.save'), perMinute(10)],
    ['nothing where it is deeper than the rules', 'relay', entries('workspace=globex', 'action=webhook.save'), undefined],
    ['nothing where it is unlimited', 'relay', entries('workspace=ours'), undefined],
    ['a limit of 0', 'relay', entries('closed=x'), perMinute(0)],
    ['nothing for an unknown key', 'relay', entries('user=acme'), undefined],
    ['nothing in an unknown domain', 'other', entries('workspace=acme'), undefined],
    ['the rules of its own domain', 'edge', entries('address=10.0.0.1'), perMinute(5)],
    ['nothing for names that objects inherit', 'relay', entries('constructor=x', '__proto__=x'), undefined],
  ])('%s', (_, domain, descriptor, rule) => expect(limits.ruleOf(domain, descriptor)).toEqual(rule))

  test('several domains may stand in a list', () => {
    const listed = Limits.parse('[{domain: a, descriptors: []}, {domain: b}]', 'limits.yaml')
    expect(listed.domains).toEqual(['a', 'b'])
  })
})

describe('a limits file that is not understood is refused, by path', () => {
  const top = (descriptor: string) =>
    `domain: relay\ndescriptors:\n  - key: a\n    rate_limit: { unit: minute, requests_per_unit: 1 }\n  - ${descriptor}`
  test.each([
    [
      'another unit',
      top('{key: b, rate_limit: {unit: second, requests_per_unit: 1}}'),
      'limits.yaml: $.descriptors[1].rate_limit.unit: must be minute',
    ],
    ['no unit', top('{key: b, rate_limit: {requests_per_unit: 1}}'), '$.descriptors[1].rate_limit.unit'],
    [
      'half a request',
      top('{key: b, rate_limit: {unit: minute, requests_per_unit: 0.5}}'),
      '$.descriptors[1].rate_limit.requests_per_unit',
    ],
    ['a negative limit', top('{key: b, rate_limit: {unit: minute, requests_per_unit: -1}}'), 'requests_per_unit'],
    ['a limit as text', top('{key: b, rate_limit: {unit: minute, requests_per_unit: "5"}}'), 'requests_per_unit'],
    [
      'unlimited with a limit',
      top('{key: b, rate_limit: {unlimited: true, unit: minute}}'),
      '$.descriptors[1].rate_limit: is unlimited and has a limit',
    ],
    ['an option that is not supported', top('{key: b, shadow_mode: true}'), '$.descriptors[1].shadow_mode: is not supported'],
    ['a misspelt field', top('{key: b, rate_limits: {}}'), '$.descriptors[1].rate_limits'],
    ['a value with a wildcard', top('{key: b, value: "x*"}'), '$.descriptors[1].value'],
    ['a value that YAML takes for a number', top('{key: b, value: 404}'), '$.descriptors[1].value: must be text'],
    ['no key', top('{value: b}'), '$.descriptors[1].key'],
    ['the same descriptor twice', top('{key: a}'), '$.descriptors[1]: a is here twice'],
    [
      'the same value twice',
      top('{key: c, descriptors: [{key: x, value: y}, {key: x, value: y}]}'),
      '$.descriptors[1].descriptors[1]: x with the value y',
    ],
    ['descriptors that are no list', 'domain: relay\ndescriptors: {key: a}', '$.descriptors: must be a list'],
    ['no domain', 'descriptors: []', '$.domain'],
    ['a domain twice', 'domain: relay\n---\ndomain: relay', '$[1].domain: relay is in the file twice'],
    ['a list with text in it', '[relay]', '$: must be a mapping'],
    ['a key twice in a mapping', 'domain: relay\ndomain: edge', 'limits.yaml: Map keys must be unique'],
    ['something that is not YAML', 'domain: [', 'limits.yaml: '],
    ['an unknown tag', 'domain: !secret relay', 'limits.yaml: '],
    ['nothing', '', 'limits.yaml: names no domain'],
  ])('%s', (_, text, message) => expect(() => Limits.parse(text, 'limits.yaml')).toThrow(message))
})

test('the built-in limits and those of the local mesh are 600 a minute for each workspace', () => {
  const local = readFileSync(new URL('../../../deploy/local/limits.yaml', import.meta.url), 'utf8')
  for (const text of [defaultLimits, local]) {
    expect(Limits.parse(text, 'file').ruleOf('relay', entries('workspace=default'))).toEqual(perMinute(600))
  }
})
