import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { createLogger } from '#mesh/telemetry/log.ts'
import { meshCertificates } from '../../fakes/mesh-certificates.ts'
import {
  atEnd,
  calls,
  certificates,
  channelTo,
  complete,
  completing,
  end,
  lives,
  problemOf,
  secured,
  serve,
  strangers,
} from '../../fixtures/mesh/mtls.ts'
import type { TestServer } from '../../fixtures/mesh/server.ts'
import { until } from '../../fixtures/mesh/until.ts'

afterEach(end)

/** Whose certificate a server shows to somebody who believes `ca`. */
async function issuerSeen(server: TestServer, ca: string): Promise<string> {
  const socket = connectTls({ ...secured(certificates.issue('actions')), ca, port: server.port })
  socket.on('error', () => undefined)
  await once(socket, 'secureConnect')
  const issuer = socket.getPeerX509Certificate()!.issuer
  socket.destroy()
  return issuer
}

describe('certificates that are exchanged while a service runs', () => {
  test('are used for the connections that come, on both sides, while those that stand go on', async () => {
    const files = certificates.env('idempotency')
    const tls = certificates.open('idempotency', files)
    const server = await serve(tls)
    const own = certificates.env('actions')
    const client = certificates.open('actions', own)
    const standing = channelTo(server, { tls: client })
    await completing(standing)

    // To a new CA in three steps: it is believed beside the old one, certificates of it are used, it is believed alone.
    const fresh = meshCertificates('Relay mesh CA 2')
    const [both, mine] = [certificates.ca + fresh.ca, fresh.issue('idempotency')]
    certificates.env('idempotency', undefined, both)
    certificates.env('actions', undefined, both)
    for (const each of [tls, client]) each.reread()
    await lives(server)
    certificates.env('idempotency', mine, both)
    certificates.env('actions', fresh.issue('actions'), both)
    for (const each of [tls, client]) each.reread()
    expect(await issuerSeen(server, both)).toBe('CN=Relay mesh CA 2')
    certificates.env('idempotency', mine, fresh.ca)
    tls.reread()

    await completing(channelTo(server, { tls: client, service: 'idempotency' }))
    await completing(standing)
    expect(calls.at(-1)).toMatchObject({ peer: 'actions' })
    const late = certificates.careless(certificates.issue('actions'), both)
    expect(await problemOf(complete(server, { tls: late }))).toContain('No connection')
  })

  test('are noticed in the files; what is no good there is said once, and not used', async () => {
    const tls = certificates.open('idempotency', certificates.env('idempotency'))
    const server = await serve(tls)
    const lines: Record<string, unknown>[] = []
    const log = createLogger('tested', 'info', { write: (line) => void lines.push(JSON.parse(line)) })
    const following = tls.follow(log, 20)
    atEnd(() => following.stop())

    certificates.env('idempotency', strangers.issue('idempotency'))
    await until('it is said', () => lines.length > 0)
    const message = expect.stringContaining('was not issued by an authority in MESH_TLS_CA') as string
    expect(lines).toMatchObject([{ level: 'warn', loop: 'certificates', err: { message } }])
    await lives(server)

    const other = meshCertificates('Relay mesh CA 3')
    certificates.env('idempotency', other.issue('idempotency'), certificates.ca + other.ca)
    await until('the new one is used', async () => (await issuerSeen(server, certificates.ca + other.ca)) === 'CN=Relay mesh CA 3')
    await until('that it works again is said', () => lines.length > 1)
    expect(lines).toHaveLength(2)
  })
})
