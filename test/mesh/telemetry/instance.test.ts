import fc from 'fast-check'
import { expect, test } from 'vitest'
import { instanceId } from '#mesh/telemetry/instance.ts'

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

test('a process is told apart by an id of its own', () => {
  expect(instanceId('')).toMatch(uuid)
  expect(instanceId('')).not.toBe(instanceId(''))
})

test('an operator may name it, as for any program of OpenTelemetry', () => {
  expect(instanceId('deployment.region=eu, service.instance.id=relay%2Dactions-0 ,x=y')).toBe('relay-actions-0')
})

test('of a name that is empty or cannot be decoded nothing is taken', () => {
  for (const named of ['service.instance.id=', 'service.instance.id', 'service.instance.id=%zz']) expect(instanceId(named)).toMatch(uuid)
})

test('whatever is set, it is neither empty nor longer than a label may be', () => {
  fc.assert(
    fc.property(fc.string(), (value) => {
      const id = instanceId(`service.instance.id=${value}`)
      expect(id.length).toBeGreaterThan(0)
      expect(id.length).toBeLessThanOrEqual(128)
    }),
  )
})
