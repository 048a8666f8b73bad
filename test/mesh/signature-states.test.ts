import { beforeEach, describe, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { SignatureKeys } from '#mesh/signature-keys.ts'
import { SignatureKeyring, SignatureStates, type SignatureStatesUpdate } from '#mesh/signature-states.ts'
import { signatureKeyring } from '#mesh/signature-variables.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'

const secrets = { root: 'the root of these tests', legacy: 'the secret from before' }
let states: SignatureStates
let lines: string[]
beforeEach(() => {
  states = new SignatureStates()
  lines = []
})
const log = createLogger('tested', 'info', { write: (line: string) => void lines.push(line) })
const news = (over: Partial<SignatureStatesUpdate> = {}): SignatureStatesUpdate => ({
  states: [],
  sequence: 0,
  more: false,
  rootId: '',
  ...over,
})
const acme = { workspace: 'acme', purpose: 'outbound' }
const keyring = (given: Partial<typeof secrets> = secrets) => {
  const keys = new SignatureKeys({ root: given.root, legacy: given.legacy })
  return { keys, ring: new SignatureKeyring({ keys, states, log }) }
}
const unavailable = expect.objectContaining({ reason: 'DEPENDENCY_UNAVAILABLE' }) as Error

describe('the valid signature keys', () => {
  test('are unknown until access has responded, to its last page', async () => {
    const { ring, keys } = keyring()
    expect(() => ring.of('outbound', 'acme')).toThrow(unavailable)
    await expect(ring.soon('outbound', 'acme', AbortSignal.abort())).rejects.toThrow('not reported the valid signature keys yet')
    expect(states.update(news({ states: [{ ...acme, generation: 2 }], sequence: 1, more: true }))).toBe(true)
    expect(() => ring.of('outbound', 'acme')).toThrow(unavailable)
    const waiting = ring.soon('outbound', 'acme', new AbortController().signal)
    expect(states.update(news({ sequence: 2 }))).toBe(false)
    expect(await waiting).toEqual({ newest: keys.key('outbound', 'acme', 2), previous: undefined })
  })

  test('are generation 1 for a workspace without a record, both during an overlap, and one afterwards', () => {
    const { ring, keys } = keyring()
    states.update(news({ states: [{ ...acme, generation: 1, previousGeneration: 0 }], sequence: 1 }))
    expect(ring.of('outbound', 'acme')).toEqual({ newest: keys.key('outbound', 'acme', 1), previous: keys.key('outbound', 'acme', 0) })
    for (const [purpose, workspace] of [
      ['inbound', 'acme'],
      ['outbound', 'other'],
    ] as const) {
      expect(ring.of(purpose, workspace)).toEqual({ newest: keys.key(purpose, workspace, 1), previous: undefined })
    }
    states.update(news({ states: [{ ...acme, generation: 1 }], sequence: 2 }))
    expect(ring.of('outbound', 'acme')).toEqual({ newest: keys.key('outbound', 'acme', 1), previous: undefined })
    states.update(news({ states: [{ ...acme, generation: 2, previousGeneration: 1 }], sequence: 3 }))
    expect(ring.of('outbound', 'acme')).toEqual({ newest: keys.key('outbound', 'acme', 2), previous: keys.key('outbound', 'acme', 1) })
  })

  test('are unchanged if access is of the previous release, until one reports more', () => {
    const { ring, keys } = keyring()
    expect(states.update(undefined)).toBe(false)
    const old = { newest: keys.key('outbound', 'acme', 1), previous: keys.key('outbound', 'acme', 0) }
    expect(ring.of('outbound', 'acme')).toEqual(old)
    states.update(news({ sequence: 5 }))
    expect(ring.of('outbound', 'acme')).toEqual({ newest: old.newest, previous: undefined })
    // An older replica in between takes nothing back.
    states.update(undefined)
    expect(ring.of('outbound', 'acme')).toEqual({ newest: old.newest, previous: undefined })
    expect(states.sequence).toBe(5)
  })

  test('are read from the beginning if access was restored to an earlier state', () => {
    states.update(news({ sequence: 9 }))
    expect(states.update(news({ sequence: 4 }))).toBe(true)
    expect(states.sequence).toBe(0)
  })

  test('without a root is the key from before, with a warning; what was replaced with a root cannot be signed', () => {
    const { ring, keys } = keyring({ legacy: secrets.legacy })
    expect(lines.join()).toContain('SIGNATURE_ROOT_SECRET is not set')
    states.update(news({ states: [{ ...acme, generation: 1, previousGeneration: 0 }], sequence: 1 }))
    for (const workspace of ['acme', 'new']) {
      expect(ring.of('outbound', workspace)).toEqual({ newest: keys.key('outbound', workspace, 0), previous: undefined })
    }
    for (const state of [{ generation: 1 }, { generation: 2, previousGeneration: 1 }, { generation: 2 }]) {
      states.update(news({ states: [{ ...acme, ...state }], sequence: 2 }))
      expect(() => ring.of('outbound', 'acme')).toThrow(unavailable)
    }
  })

  test('without the secret from before is the newer key alone', () => {
    const { ring, keys } = keyring({ root: secrets.root })
    states.update(news({ states: [{ ...acme, generation: 1, previousGeneration: 0 }], sequence: 1 }))
    expect(ring.of('outbound', 'acme')).toEqual({ newest: keys.key('outbound', 'acme', 1), previous: undefined })
  })

  test('is told in the log where the root is not that of access', () => {
    const { ring, keys } = keyring()
    states.update(news({ rootId: keys.rootId }))
    ring.of('outbound', 'acme')
    expect(lines).toEqual([])
    states.update(news({ rootId: 'another' }))
    for (let count = 0; count < 3; count += 1) ring.of('outbound', 'acme')
    expect(lines.filter((line) => line.includes('differs from that of access'))).toHaveLength(1)
  })
})

test('open overlaps are counted by purpose until they end, in the metric that the alert reads', async () => {
  const metrics = new Metrics('gateway')
  const log = createLogger('gateway', 'silent')
  signatureKeyring({ signatureRoot: new Secret(secrets.root) }, { signatures: states }, { log, metrics })
  const count = async () => {
    const { values } = await metrics.registry.getSingleMetric('signature_key_overlaps')!.get()
    return Object.fromEntries(values.map(({ labels, value }) => [labels['purpose'], value]))
  }
  expect(await count()).toEqual({ outbound: 0, inbound: 0 })
  const of = (workspace: string, purpose: string, previousGeneration?: number) => ({
    workspace,
    purpose,
    generation: 1,
    previousGeneration,
  })
  const open = [of('acme', 'outbound', 0), of('umbrella', 'outbound', 0), of('acme', 'inbound', 0), of('new', 'inbound')]
  states.update({ states: open, sequence: 4, more: false, rootId: '' })
  expect(await count()).toEqual({ outbound: 2, inbound: 1 })
  states.update({ states: [of('acme', 'outbound'), of('acme', 'inbound')], sequence: 6, more: false, rootId: '' })
  expect(await count()).toEqual({ outbound: 1, inbound: 0 })
})
