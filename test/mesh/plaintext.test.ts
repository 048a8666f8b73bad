import { describe, expect, test } from 'vitest'
import { type ListenAddress, type Spec, formatAddress, listenAddress, optional, readConfig, secret, url } from '#mesh/config.ts'
import { isLoopback } from '#mesh/loopback.ts'
import { plaintextProblems } from '#mesh/plaintext.ts'
import { grpcVariables, processVariables, redisSchemes } from '#mesh/variables.ts'
import { gatewayVariables } from '../../gateway/config.ts'
import { identityVariables } from '#mesh/identity/variables.ts'

const everywhere = ['0.0.0.0', '::', '10.1.2.3', 'relay.internal', '169.254.1.1', '2001:db8::1']

/** Where gRPC is served by a process with this environment. */
const problems = (env: Record<string, string>, more: Spec = {}): string[] => {
  const { tlsCa, tlsCert, tlsKey } = identityVariables
  const spec = { ...processVariables, ...grpcVariables, tlsCa, tlsCert, tlsKey, ...more }
  return plaintextProblems(spec, readConfig(spec, { RELAY_ENV: 'production', ...env }) as never)
}
const at = (host: string): string => formatAddress({ host, port: 7101 })

describe('in production', () => {
  test.each(everywhere)('gRPC in plain text on %s is refused, and it is said what to do', (host) => {
    expect(problems({ GRPC_LISTEN: at(host) })).toEqual([
      `GRPC_LISTEN is ${at(host)}, where access tokens would travel unencrypted: listen on 127.0.0.1, set MESH_TLS_CA, MESH_TLS_CERT and ` +
        'MESH_TLS_KEY (docs/mtls.md), or set NETWORK_ENCRYPTED=true if the network encrypts what processes send each other',
    ])
  })

  test.each(['127.0.0.1', '127.8.8.8', '::1', 'localhost'])('gRPC in plain text on %s is accepted', (host) => {
    expect(problems({ GRPC_LISTEN: at(host) })).toEqual([])
  })

  test('mTLS or a network that encrypts makes any address acceptable for gRPC', () => {
    expect(problems({ GRPC_LISTEN: '0.0.0.0:7101', MESH_TLS_CA: 'ca.pem', MESH_TLS_CERT: 'a.pem', MESH_TLS_KEY: 'a.key' })).toEqual([])
    expect(problems({ GRPC_LISTEN: '0.0.0.0:7101', NETWORK_ENCRYPTED: 'true' })).toEqual([])
  })

  test('the HTTP port of the gateway, where API keys travel, is refused beyond loopback even with mTLS, which is not spoken there', () => {
    const { httpListen } = gatewayVariables
    const mtls = { MESH_TLS_CA: 'ca.pem', MESH_TLS_CERT: 'a.pem', MESH_TLS_KEY: 'a.key' }
    const [problem, ...others] = problems({ HTTP_LISTEN: '0.0.0.0:8080', ...mtls }, { httpListen })
    expect(problem).toMatch(/^HTTP_LISTEN is 0\.0\.0\.0:8080, where API keys would travel unencrypted/)
    expect(others).toEqual([])
    expect(problems({ HTTP_LISTEN: '0.0.0.0:8080', NETWORK_ENCRYPTED: 'true' }, { httpListen })).toEqual([])
    expect(problems({}, { httpListen })).toEqual([])
  })

  test('the admin port, where no credential travels, may be reached by probes and by Prometheus', () => {
    expect(problems({ ADMIN_LISTEN: '0.0.0.0:9101' })).toEqual([])
  })

  test('a listener that does not declare its content is judged by the worst', () => {
    expect(problems({ NEW_LISTEN: '0.0.0.0:1' }, { listen: listenAddress('NEW_LISTEN', 'New') })).toHaveLength(1)
  })
})

describe('Postgres and Redis in production', () => {
  const stores = {
    databaseUrl: secret('DATABASE_URL', 'x', { default: 'postgres://localhost/x' }),
    redisUrl: optional(url('REDIS_URL', 'x', redisSchemes)),
  }
  const judged = (env: Record<string, string>) => problems(env, stores)

  test('on another machine and unencrypted they are refused by name and host alone, and it is said what to do', () => {
    const [postgres, redis, ...others] = judged({
      DATABASE_URL: 'postgres://relay:hunter2@db.internal:5432/relay',
      REDIS_URL: 'redis://:hunter2@10.1.2.3:6379',
    })
    expect(postgres).toMatch(
      /^DATABASE_URL leads to db\.internal unencrypted, .*add sslmode=verify-full to it, or set NETWORK_ENCRYPTED=true/,
    )
    expect(redis).toMatch(/^REDIS_URL leads to 10\.1\.2\.3 unencrypted, .*begin it with rediss:\/\/, or set NETWORK_ENCRYPTED=true/)
    expect(others).toEqual([])
    expect(`${postgres}${redis}`).not.toContain('hunter2')
  })

  test.each(['disable', 'prefer', 'allow', 'no-verify', ''])('sslmode=%s leaves Postgres open to others', (mode) => {
    expect(judged({ DATABASE_URL: `postgresql://db.internal/relay?sslmode=${mode}` })).toHaveLength(1)
  })

  test('a host that a parameter names counts before the one in the address', () => {
    expect(judged({ DATABASE_URL: 'postgres://localhost/relay?host=db.internal' })).toHaveLength(1)
  })

  test.each<Record<string, string>>([
    { DATABASE_URL: 'postgres://db.internal/relay?sslmode=require' },
    { DATABASE_URL: 'postgres://db.internal/relay?sslmode=verify-ca' },
    { DATABASE_URL: 'postgres://db.internal/relay?sslmode=verify-full' },
    { DATABASE_URL: 'postgres://127.0.0.1:5432/relay' },
    { DATABASE_URL: 'postgres://[::1]/relay' },
    { DATABASE_URL: 'postgres:///relay?host=/var/run/postgresql' },
    { REDIS_URL: 'rediss://10.1.2.3:6379' },
    { REDIS_URL: 'redis://localhost:6379' },
    { DATABASE_URL: 'postgres://db.internal/relay', REDIS_URL: 'redis://10.1.2.3', NETWORK_ENCRYPTED: 'true' },
    { DATABASE_URL: 'postgres://db.internal/relay', RELAY_ENV: 'development' },
  ])('%o is accepted', (env) => {
    expect(judged(env)).toEqual([])
  })
})

test.each(['local', 'test', 'development'])('in %s any address is accepted', (environment) => {
  expect(problems({ RELAY_ENV: environment, GRPC_LISTEN: '0.0.0.0:7101' })).toEqual([])
})

test.each<[ListenAddress['host'], boolean]>([
  ['127.0.0.1', true],
  ['127.255.0.1', true],
  ['::1', true],
  ['0:0:0:0:0:0:0:1', true],
  ['::ffff:127.0.0.1', true],
  ['localhost', true],
  ['127.0.0.1.example.com', false],
  ['localhost.example.com', false],
  ['::', false],
  ['::2', false],
  ['1::1', false],
  ['::ffff:10.0.0.1', false],
])('%s is loopback: %s', (host, expected) => {
  expect(isLoopback(host)).toBe(expected)
})
