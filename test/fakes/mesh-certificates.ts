/** A mesh's certificates in a folder of their own: what a process is given as MESH_TLS_*, and what those have who should not be let in. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Tls, openTls } from '#mesh/tls/credentials.ts'
import { type Certificate, type CertificateRequest, certificateAuthority } from './certificate.ts'

export type TlsEnv = { MESH_TLS_CA: string; MESH_TLS_CERT: string; MESH_TLS_KEY: string }

export const trustDomain = 'relay'
export const idOf = (service: string): string => `spiffe://${trustDomain}/${service}`

/** `name` is the CA's; two of one name have nothing else in common. */
export function meshCertificates(name = 'Relay mesh CA') {
  const authority = certificateAuthority(name)
  const folder = mkdtempSync(join(tmpdir(), 'relay-certificates-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const file = (called: string, content: string): string => {
    writeFileSync(join(folder, called), content)
    return join(folder, called)
  }
  const issue = (service: string, more: CertificateRequest = {}): Certificate =>
    authority.issue({ uris: [idOf(service)], usages: ['server', 'client'], ...more })

  /** The files of a service, written anew, with a fresh certificate of this CA unless another is given. */
  const env = (service: string, { key, cert } = issue(service), ca = authority.cert): TlsEnv => ({
    MESH_TLS_CA: file(`${service}.ca.pem`, ca),
    MESH_TLS_CERT: file(`${service}.cert.pem`, cert),
    MESH_TLS_KEY: file(`${service}.key.pem`, key),
  })

  /** As the service opens it. */
  const open = (service: string, files: Partial<TlsEnv> = env(service)): Tls => {
    const { MESH_TLS_CA: tlsCa, MESH_TLS_CERT: tlsCert, MESH_TLS_KEY: tlsKey } = files
    return openTls(service, { trustDomain, tlsCa, tlsCert, tlsKey })!
  }

  /** As somebody does who looks at nothing of what they show. */
  const careless = ({ key, cert }: Certificate, ca = authority.cert): Tls =>
    new Tls({ trustDomain, read: () => ({ ca: Buffer.from(ca), cert: Buffer.from(cert), key: Buffer.from(key) }) })

  return { authority, ca: authority.cert, issue, env, open, careless, file }
}
