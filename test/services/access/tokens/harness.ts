/** The exchange with keys, clock and signer of a test's choosing, and what it told of whom it refused. */
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { AddressLimiter } from '#mesh/address-limiter.ts'
import { newApiKey } from '#mesh/api-key.ts'
import type { Denial } from '#mesh/audit/denials.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { keyHash } from '../../../../services/access/keys/key.ts'
import type { FoundKey } from '../../../../services/access/keys/store.ts'
import { instruments } from '../../../../services/access/metrics.ts'
import { type Exchange, exchange } from '../../../../services/access/tokens/exchange.ts'
import { issuer } from '../../../../services/access/tokens/issuer.ts'

const pepper = 'the pepper of these tests'

export interface Harness {
  readonly exchange: Exchange
  readonly signer: { readonly kid: string; readonly x: string }
  readonly denials: Denial[]
  readonly lines: Record<string, unknown>[]
  /** Ids of keys whose use was noted. */
  readonly used: string[]
  /** How often the store was asked. */
  readonly asked: () => number
  readonly metrics: Metrics
  /** A new API key that is stored so. */
  add(over?: Partial<FoundKey>): string
  revoke(apiKey: string): void
}

export function openHarness(
  options: { perMinute?: number; ttlMs?: number; now?: () => number; find?: () => Promise<never> } = {},
): Harness {
  const { perMinute = 1000, ttlMs = 300_000, now = Date.now, find } = options
  const { privateKey } = generateKeyPairSync('ed25519')
  const { x } = privateKey.export({ format: 'jwk' })
  const metrics = new Metrics('access')
  const hash = keyHash(pepper)
  const keys = new Map<string, FoundKey>()
  const [denials, lines, used]: [Denial[], Record<string, unknown>[], string[]] = [[], [], []]
  let asked = 0
  return {
    exchange: exchange({
      env: 'test',
      limiter: new AddressLimiter({ perMinute, now: () => 0 }),
      hash,
      keys: {
        async findByHash(bytes) {
          asked += 1
          return find === undefined ? keys.get(bytes.toString('hex')) : find()
        },
      },
      issue: issuer({ ring: { signer: async () => ({ kid: 'the-kid', privateKey }) }, ttlMs, now }),
      used: (keyId) => used.push(keyId),
      denials: { note: (refusal) => denials.push(refusal) },
      instruments: instruments(metrics),
      log: createLogger('access', 'info', { write: (line) => void lines.push(JSON.parse(line)) }),
    }),
    signer: { kid: 'the-kid', x: x! },
    denials,
    lines,
    used,
    asked: () => asked,
    metrics,
    add(over = {}) {
      const apiKey = newApiKey('test')
      keys.set(hash(apiKey).toString('hex'), {
        keyId: randomUUID(),
        workspace: 'acme',
        actor: 'ann',
        name: 'a key of these tests',
        role: 'operator',
        permissions: ['actions:read', 'actions:preview', 'actions:execute'],
        previewOnly: false,
        allowedSources: [],
        createdAt: new Date(0),
        createdBy: 'ann',
        expiresAt: undefined,
        revokedAt: undefined,
        lastUsedAt: undefined,
        replaces: undefined,
        parent: undefined,
        status: 'active',
        expiresInMs: undefined,
        ...over,
      })
      return apiKey
    },
    revoke(apiKey) {
      const id = hash(apiKey).toString('hex')
      keys.set(id, { ...keys.get(id)!, status: 'revoked' })
    },
  }
}
