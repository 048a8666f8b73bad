import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigError } from '#mesh/config.ts'
import { openTls } from '#mesh/tls/credentials.ts'
import { fakeMesh } from '../../fakes/identity.ts'
import type { Certificate, CertificateRequest } from '../../fakes/certificate.ts'
import { type TlsEnv, idOf, meshCertificates } from '../../fakes/mesh-certificates.ts'
import { startProcess } from '../../fixtures/mesh/process.ts'

const certificates = meshCertificates()
const files = certificates.env('actions')
const none = { trustDomain: 'relay', tlsCa: undefined, tlsCert: undefined, tlsKey: undefined }

/** What is said of these files; they are otherwise as they should be. */
function problemOf(wrong: Partial<TlsEnv>): string {
  const right = certificates.env('actions')
  try {
    certificates.open('actions', { ...right, ...wrong })
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    return (error as Error).message
  }
  throw new Error('they were taken')
}

describe('the three files of mTLS', () => {
  test('may all be left out: then there is none', () => {
    expect(openTls('actions', none)).toBeUndefined()
  })

  test.each([
    [['MESH_TLS_CA'], 'MESH_TLS_CERT is not set, MESH_TLS_KEY is not set'],
    [['MESH_TLS_CERT'], 'MESH_TLS_CA is not set, MESH_TLS_KEY is not set'],
    [['MESH_TLS_KEY'], 'MESH_TLS_CA is not set, MESH_TLS_CERT is not set'],
    [['MESH_TLS_CA', 'MESH_TLS_CERT'], 'MESH_TLS_KEY is not set'],
    [['MESH_TLS_CA', 'MESH_TLS_KEY'], 'MESH_TLS_CERT is not set'],
    [['MESH_TLS_CERT', 'MESH_TLS_KEY'], 'MESH_TLS_CA is not set'],
  ] as const)('are refused where there is only %j, by the names of the others', (given, said) => {
    const some = Object.fromEntries(given.map((name) => [name, files[name]]))
    expect(() => certificates.open('actions', some)).toThrow(new ConfigError(`mTLS takes all three files or none: ${said}`))
  })

  test('may have several CAs, and a certificate with what links it to one of them', () => {
    const other = meshCertificates('Another CA')
    const between = certificates.authority.under('Between')
    const { key, cert } = between.issue({ uris: [idOf('actions')] })
    const opened = (ca: string, own?: Certificate) => certificates.open('actions', certificates.env('actions', own, ca))
    expect(opened(other.ca + certificates.ca, { key, cert: cert + between.cert })).toBeDefined()
    expect(opened(`of the mesh:\n${other.ca}\n${certificates.ca}`)).toBeDefined()
  })

  const text = certificates.file('text.pem', 'not what it should be')
  const otherKey = certificates.file('other.pem', certificates.issue('actions').key)
  const stranger = meshCertificates()
  /** As files of a service whose certificate is not its own. */
  const given = (request: CertificateRequest, by = certificates) => {
    const { MESH_TLS_CERT, MESH_TLS_KEY } = certificates.env('given', by.issue('actions', request))
    return { MESH_TLS_CERT, MESH_TLS_KEY }
  }

  test.each<[string, () => Partial<TlsEnv>, string]>([
    ['a CA that is not there', () => ({ MESH_TLS_CA: '/nowhere/ca.pem' }), 'MESH_TLS_CA cannot be read: ENOENT'],
    ['a certificate that is a folder', () => ({ MESH_TLS_CERT: '/' }), 'MESH_TLS_CERT cannot be read: EISDIR'],
    ['a key that is not there', () => ({ MESH_TLS_KEY: '/nowhere/key.pem' }), 'MESH_TLS_KEY cannot be read: ENOENT'],
    ['a CA that is other text', () => ({ MESH_TLS_CA: text }), 'MESH_TLS_CA is not a file of PEM certificates'],
    ['a certificate that is other text', () => ({ MESH_TLS_CERT: text }), 'MESH_TLS_CERT is not a file of PEM certificates'],
    ['a certificate that is the key', () => ({ MESH_TLS_CERT: files.MESH_TLS_KEY }), 'MESH_TLS_CERT is not a file of PEM certificates'],
    ['a key that is other text', () => ({ MESH_TLS_KEY: text }), 'MESH_TLS_KEY is not a file with a private key in PEM'],
    ['a key that is the certificate', () => ({ MESH_TLS_KEY: files.MESH_TLS_CERT }), 'MESH_TLS_KEY is not a file with a private key'],
    ['a key of another certificate', () => ({ MESH_TLS_KEY: otherKey }), 'MESH_TLS_KEY is not the key of the certificate in MESH_TLS_CERT'],
    ['a CA that is none', () => ({ MESH_TLS_CA: files.MESH_TLS_CERT }), 'MESH_TLS_CA has a certificate that is not an authority’s'],
    ['a certificate for another service', () => given({ uris: [idOf('gateway')] }), 'MESH_TLS_CERT is for gateway: this is actions'],
    ['a certificate with two names', () => given({ uris: [idOf('actions'), idOf('gateway')] }), 'MESH_TLS_CERT has 2 URI names'],
    ['a certificate without a name', () => given({ uris: [] }), 'MESH_TLS_CERT has 0 URI names'],
    ['a certificate of another mesh', () => given({ uris: ['spiffe://other/actions'] }), 'a URI name that is not spiffe://relay/<service>'],
    ['an authority’s certificate', () => given({ authority: true }), 'MESH_TLS_CERT is an authority’s'],
    ['a certificate that expired', () => given({ notBefore: 0, notAfter: 86_400_000 }), 'MESH_TLS_CERT expired on 1970-01-02T00'],
    ['a certificate for later', () => given({ notBefore: 2e12, notAfter: 3e12 }), 'MESH_TLS_CERT begins on 2033-05-18T03:33:20.000Z'],
    ['a certificate for servers', () => given({ usages: ['server'] }), 'MESH_TLS_CERT is not for use as a client'],
    ['a certificate for clients', () => given({ usages: ['client'] }), 'MESH_TLS_CERT is not for use as a server'],
    ['a certificate of another CA of the same name', () => given({}, stranger), 'was not issued by an authority in MESH_TLS_CA'],
  ])('are refused with %s, and it is said', (_, wrong, said) => {
    expect(problemOf(wrong())).toContain(said)
  })

  test('are refused with a key behind a passphrase, of which nothing is said', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const locked = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'open' }).toString()
    const problem = problemOf({ MESH_TLS_KEY: certificates.file('locked.pem', locked) })
    expect(problem).toBe('MESH_TLS_KEY is not a file with a private key in PEM, without a passphrase')
  })

  test('belong to a trust domain that is one', () => {
    for (const trustDomain of ['Relay', 'relay/', 'a b'])
      expect(() => openTls('actions', { ...none, trustDomain })).toThrow('MESH_TRUST_DOMAIN is not a trust domain')
  })
})

describe('a process', () => {
  const main = join(import.meta.dirname, '../../fixtures/mesh/main.ts')
  const own = { ...fakeMesh().env('idempotency'), ACCESS_ADDR: '127.0.0.1:1' }

  test('does not start with half of the files, or another service’s: it exits with 78 and says why', async () => {
    const { MESH_TLS_CA, MESH_TLS_CERT } = files
    const half = startProcess(main, { ...own, MESH_TLS_CA, MESH_TLS_CERT })
    const others = startProcess(main, { ...own, ...files })
    expect(await Promise.all([half.ended, others.ended])).toEqual([78, 78])
    expect(half.text.stderr).toContain('fixture: mTLS takes all three files or none: MESH_TLS_KEY is not set\n')
    expect(others.text.stderr).toContain('fixture: the certificate in MESH_TLS_CERT is for actions: this is idempotency\n')
  })
})
