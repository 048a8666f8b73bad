import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { dataSources, root, yaml } from './provisioned.ts'

interface Service {
  image: string
  network_mode: string
  command?: string[]
  volumes: string[]
  environment?: Record<string, string>
  stop_grace_period?: string
}

interface Listening {
  server: { http_listen_address: string; http_listen_port: number }
}

const urlOf = ({ server }: Listening): string => `http://${server.http_listen_address}:${server.http_listen_port}`

const { services, volumes: named } = yaml('deploy/compose.yml') as {
  services: Record<string, Service>
  volumes: Record<string, null>
}
const mounts = Object.entries(services).flatMap(([service, { volumes }]) =>
  volumes.map((volume) => {
    const [from, to] = volume.replace(/^\$\{\w+:-([^}]*)\}/, '$1').split(':') as [string, string]
    return { service, from, to }
  }),
)

describe('compose.yml', () => {
  it('mounts what there is', () => {
    const missing = mounts.filter(({ from }) =>
      from.startsWith('.') ? !from.startsWith('../.relay/') && !existsSync(join(root, 'deploy', from)) : !(from in named),
    )
    expect(missing).toEqual([])
  })

  it('runs images of a version, on the network of the machine', () => {
    for (const { image, network_mode: network } of Object.values(services)) {
      expect(image).toMatch(/:v?\d+\.\d+\.\d+$/)
      expect(network).toBe('host')
    }
    expect(services.tempo!.image).toMatch(/:3\./)
  })

  it('lets Prometheus keep exemplars, and take what Tempo makes of traces', () => {
    expect(services.prometheus!.command).toEqual(
      expect.arrayContaining([
        '--enable-feature=exemplar-storage',
        '--web.enable-remote-write-receiver',
        '--web.listen-address=127.0.0.1:9090',
      ]),
    )
  })

  it('gives those that keep what they were sent the time to write it down', () => {
    const keeping = Object.entries(services).filter(([service]) => ['prometheus', 'tempo', 'loki'].includes(service))
    expect(keeping.map(([service, { stop_grace_period: grace }]) => [service, grace])).toEqual([
      ['prometheus', '1m'],
      ['tempo', '1m'],
      ['loki', '1m'],
    ])
  })

  it('asks where the runbooks can be read, for the links in alerts', () => {
    expect(services.prometheus!.environment!['RELAY_RUNBOOKS']).toMatch(/^\$\{RELAY_RUNBOOKS:\?/)
  })

  it('places the dashboards in Grafana’s configured folder', () => {
    const { providers } = yaml('deploy/grafana/provisioning/dashboards/relay.yml') as { providers: { options: { path: string } }[] }
    const to = mounts.filter(({ service }) => service === 'grafana').map((mount) => mount.to)
    expect(to).toContain(providers[0]!.options.path)
  })

  it('has everything listen on the loopback address, where the data sources look', () => {
    const tempo = yaml('deploy/tempo/tempo.yaml') as Listening & { distributor: unknown }
    const loki = yaml('deploy/loki/loki.yaml') as Listening
    const urls = Object.fromEntries(dataSources.map(({ uid, url }) => [uid, url]))
    expect(urls).toEqual({ prometheus: 'http://127.0.0.1:9090', tempo: urlOf(tempo), loki: urlOf(loki) })
    expect(tempo.distributor).toEqual({ receivers: { otlp: { protocols: { http: { endpoint: '127.0.0.1:4318' } } } } })
    expect(readFileSync(join(root, 'deploy/alloy/config.alloy'), 'utf8')).toContain(`${urls.loki}/loki/api/v1/push`)
  })

  it('keeps traces and lines equally long', () => {
    const tempo = yaml('deploy/tempo/tempo.yaml') as { backend_worker: { compaction: { block_retention: string } } }
    const loki = yaml('deploy/loki/loki.yaml') as { limits_config: { retention_period: string } }
    expect(tempo.backend_worker.compaction.block_retention).toBe(loki.limits_config.retention_period)
  })
})
