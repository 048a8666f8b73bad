/**
 * A mesh's identity in memory: real Ed25519 keys for named services and for the issuer of caller tokens, verifiers of the real classes, the
 * variables that a real process starts with, and an access service that only exchanges and is followed.
 *
 *   const mesh = fakeMesh()
 *   const access = await startFakeAccess(mesh)
 *   startProcess(main, { ...mesh.env('idempotency'), ACCESS_ADDR: access.address })
 *
 * Tokens are put together here by hand, so that nothing but the classes under test says what a valid one is.
 */
import { type KeyObject, generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AccessServiceService, type FollowResponse } from '#gen/relay/access/v1/access.ts'
import { meshErrors } from '#mesh/errors.ts'
import type { Verifier } from '#mesh/grpc/caller.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer, served } from '#mesh/grpc/server.ts'
import type { Tls } from '#mesh/tls/credentials.ts'
import { CallerTokens, type Revocation, type SigningKey } from '#mesh/identity/caller-tokens.ts'
import { PeerTokens } from '#mesh/identity/peer-tokens.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'

const everyPermission = [
  'actions:read',
  'actions:preview',
  'actions:execute',
  'connections:read',
  'connections:write',
  'keys:read',
  'keys:write',
  'keys:admin',
  'audit:read',
  'runs:read_all',
  'runs:settle',
  'metrics:read',
] as const
const everyService = ['gateway', 'access', 'actions', 'idempotency', 'ratelimit', 'oauth', 'envoy', 'tester'] as const
export const lifeS = 300

/** Whom a caller token is for; by default ann of acme with every permission. */
export interface FakeCaller {
  workspace?: string
  actor?: string
  keyId?: string
  permissions?: readonly string[]
  /** When it is issued, in epoch milliseconds. */
  issuedAtMs?: number
  lifeS?: number
  /** A key of `newKey()` in place of the issuer's newest. */
  by?: IssuerKey
  /** What it says instead of, or beside, what it should; undefined leaves out. */
  header?: Record<string, unknown>
  claims?: Record<string, unknown>
}

export interface IssuerKey extends SigningKey {
  readonly privateKey: KeyObject
}

export interface FakeMesh {
  /** What the issuer publishes now; may be changed, for verifiers that are made or told later. */
  readonly signingKeys: IssuerKey[]
  readonly revocations: Revocation[]
  /** Which signature keys count; undefined: access is of a release that says nothing of them. */
  signatures?: FollowResponse['signatures']
  newKey(kid?: string): IssuerKey
  callerToken(caller?: FakeCaller): string
  /** As a service of this name verifies; of several, for a server of several contracts. It knows what is published at this moment. */
  verifierFor(...services: string[]): Verifier
  /** Proves one service to another, by the name of the one that is called. */
  peerToken(from: string): (to: string) => string
  /** Peers files and keys of services, as `identity()` takes them. */
  seedOf(service: string): string
  readonly peers: ReadonlyMap<string, readonly string[]>
  /** The variables of a process of this name, beside ACCESS_ADDR. */
  env(service: string): { MESH_IDENTITY_KEY: string; MESH_PEERS_FILE: string }
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A JWT in compact form (RFC 7519) with whatever header, claims and key. */
export function jwt(header: unknown, claims: unknown, key: KeyObject): string {
  const signed = `${encode(header)}.${encode(claims)}`
  return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`
}

function newKeyPair(): { privateKey: KeyObject; x: string; seed: string } {
  const { privateKey } = generateKeyPairSync('ed25519')
  const { x, d } = privateKey.export({ format: 'jwk' })
  return { privateKey, x: x!, seed: d! }
}

/** Services beside the mesh's own, e.g. for a test that makes up a contract. */
export function fakeMesh(...more: string[]): FakeMesh {
  const services = new Map([...everyService, ...more].map((name) => [name, newKeyPair()]))
  const peers = new Map([...services].map(([name, { x }]) => [name, [x]]))
  const keyOf = (name: string) => {
    const found = services.get(name)
    if (found === undefined) throw new Error(`the fake mesh has no service ${name}`)
    return found
  }
  const newKey = (kid: string = randomUUID()): IssuerKey => {
    const { privateKey, x } = newKeyPair()
    return { kid, x, privateKey }
  }
  const signingKeys = [newKey()]
  const revocations: Revocation[] = []
  let file: string | undefined
  return {
    signingKeys,
    revocations,
    newKey,
    peers,
    seedOf: (service) => keyOf(service).seed,
    callerToken(caller = {}) {
      const by = caller.by ?? signingKeys.at(-1)!
      const iat = Math.floor((caller.issuedAtMs ?? Date.now()) / 1000)
      const claims = {
        iss: 'relay-access',
        aud: 'relay-mesh',
        sub: caller.actor ?? 'ann',
        ws: caller.workspace ?? 'acme',
        key: caller.keyId ?? 'key-of-ann',
        perms: caller.permissions ?? everyPermission,
        iat,
        exp: iat + (caller.lifeS ?? lifeS),
        ...caller.claims,
      }
      return jwt({ alg: 'EdDSA', kid: by.kid, typ: 'relay-caller+jwt', ...caller.header }, claims, by.privateKey)
    },
    verifierFor(...names) {
      const tokens = new CallerTokens()
      tokens.update({ signingKeys, revocations })
      const known = names.map((audience) => new PeerTokens({ audience, peers }))
      return {
        caller: (token) => tokens.caller(token),
        peer:
          known.length === 1
            ? (token) => known[0]!.peer(token)
            : async (token) => (await Promise.all(known.map(async (each) => each.peer(token)))).find((name) => name !== undefined),
      }
    },
    peerToken: (from) => (to) => {
      const { privateKey, x } = keyOf(from)
      const iat = Math.floor(Date.now() / 1000)
      const claims = { iss: from, sub: from, aud: `relay-mesh/${to}`, iat, exp: iat + lifeS }
      return jwt({ alg: 'EdDSA', kid: x, typ: 'relay-peer+jwt' }, claims, privateKey)
    },
    env(service) {
      file ??= temporaryFile('peers.json', JSON.stringify(Object.fromEntries(peers)))
      return { MESH_IDENTITY_KEY: keyOf(service).seed, MESH_PEERS_FILE: file }
    },
  }
}

/** Removed when the process of the test ends. */
function temporaryFile(name: string, content: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'relay-identity-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, name)
  writeFileSync(file, content)
  return file
}

export interface FakeAccess {
  readonly address: string
  readonly port: number
  /** How often the feed was read. */
  readonly followed: () => number
  /** How often a key was exchanged. */
  readonly exchanged: () => number
  stop(): Promise<void>
}

export interface FakeAccessOptions {
  /** API keys that are exchanged, and for whom; all others are refused. */
  keys?: ReadonlyMap<string, FakeCaller & { allowedSources?: readonly string[] }>
  /** To come back where it was. */
  port?: number
  tls?: Tls
}

/** Serves Exchange and Follow of relay.access.v1 on loopback, with what `mesh` publishes at each moment. */
export async function startFakeAccess(mesh: FakeMesh, { keys = new Map(), port = 0, tls }: FakeAccessOptions = {}): Promise<FakeAccess> {
  const counts = { followed: 0, exchanged: 0 }
  const server = new GrpcServer({
    services: [
      served(AccessServiceService, {
        exchange: async ({ apiKey }) => {
          counts.exchanged += 1
          const caller = keys.get(apiKey)
          if (caller === undefined) throw meshErrors.UNAUTHENTICATED()
          const expiresInMs = (caller.lifeS ?? lifeS) * 1000
          return {
            token: mesh.callerToken(caller),
            expiresAt: new Date(Date.now() + expiresInMs).toISOString(),
            expiresInMs,
            workspace: caller.workspace ?? 'acme',
            actor: caller.actor ?? 'ann',
            keyId: caller.keyId ?? 'key-of-ann',
            permissions: [...(caller.permissions ?? everyPermission)],
            allowedSources: [...(caller.allowedSources ?? [])],
          }
        },
        follow: async ({ after }) => {
          counts.followed += 1
          const revocations = mesh.revocations.map(({ keyId, notAfterMs }, index) => ({
            sequence: index + 1,
            keyId,
            notAfter: new Date(notAfterMs).toISOString(),
          }))
          const { signingKeys, signatures } = mesh
          return { signingKeys, revocations: revocations.slice(after), sequence: revocations.length, signatures }
        },
      }),
    ],
    verifier: mesh.verifierFor('access'),
    tls,
    health: new Health({ services: ['relay.access.v1.AccessService'] }),
    log: createLogger('access', 'silent'),
    metrics: new Metrics('access'),
  })
  const listening = await server.listen({ host: '127.0.0.1', port })
  return {
    address: `127.0.0.1:${listening}`,
    port: listening,
    followed: () => counts.followed,
    exchanged: () => counts.exchanged,
    stop: async () => void (await server.drain(0)),
  }
}
