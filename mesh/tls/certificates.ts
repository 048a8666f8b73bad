/** The certificate files of a process: read, and checked against each other and against the process's identity, before use. */
import { type KeyObject, X509Certificate, createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ConfigError } from '../config.ts'
import { namedBy } from './spiffe.ts'

/** Paths of PEM files. */
export interface CertificateFiles {
  ca: string
  cert: string
  key: string
}

/** PEM, as `node:tls` takes it. */
export interface Certificates {
  /** The trusted CAs; several during a change of CA. */
  ca: Buffer
  /** Our certificate first, then the links to a CA. */
  cert: Buffer
  key: Buffer
}

/** Of the purposes in RFC 5280, those of a service of the mesh: it serves, and it calls. */
const usages = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' }

const block = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g

function read(variable: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ConfigError(`${variable} cannot be read: ${(error as Error).message}`)
  }
}

function certificatesIn(variable: string, pem: Buffer): X509Certificate[] {
  try {
    const blocks = pem.toString('latin1').match(block) ?? []
    if (blocks.length === 0) throw new Error('it has none')
    return blocks.map((each) => new X509Certificate(each))
  } catch (error) {
    throw new ConfigError(`${variable} is not a file of PEM certificates: ${(error as Error).message}`)
  }
}

function privateKeyIn(pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch {
    // OpenSSL's message may contain part of the key.
    throw new ConfigError('MESH_TLS_KEY is not a file with a private key in PEM, without a passphrase')
  }
}

/**
 * Reads what a process needs to prove that it is `service`. Throws ConfigError, naming the variable, for a file that cannot be read or has
 * other content, a key of another certificate, and a certificate that the others would reject.
 */
export function readCertificates(files: CertificateFiles, expected: { service: string; trustDomain: string }): Certificates {
  const [ca, cert, key] = [read('MESH_TLS_CA', files.ca), read('MESH_TLS_CERT', files.cert), read('MESH_TLS_KEY', files.key)]
  const authorities = certificatesIn('MESH_TLS_CA', ca)
  const [own, ...links] = certificatesIn('MESH_TLS_CERT', cert)
  const wrong = authorities.some((each) => !each.ca)
    ? 'MESH_TLS_CA has a certificate that is not an authority’s'
    : !own!.checkPrivateKey(privateKeyIn(key))
      ? 'MESH_TLS_KEY is not the key of the certificate in MESH_TLS_CERT'
      : notOurs(own!, [...links, ...authorities], expected)
  if (wrong !== undefined) throw new ConfigError(wrong)
  return { ca, cert, key }
}

/** Why a service cannot use a certificate. */
function notOurs(
  own: X509Certificate,
  issuers: readonly X509Certificate[],
  { service, trustDomain }: { service: string; trustDomain: string },
): string | undefined {
  const named = namedBy(own.subjectAltName, trustDomain)
  if (named.problem !== undefined) return `the certificate in MESH_TLS_CERT ${named.problem}`
  if (named.service !== service) return `the certificate in MESH_TLS_CERT is for ${named.service}: this is ${service}`
  if (own.ca) return 'the certificate in MESH_TLS_CERT is an authority’s'
  if (own.validToDate.getTime() <= Date.now()) return `the certificate in MESH_TLS_CERT expired on ${own.validToDate.toISOString()}`
  if (own.validFromDate.getTime() > Date.now()) return `the certificate in MESH_TLS_CERT begins on ${own.validFromDate.toISOString()}`
  const missing = Object.entries(usages).filter(([, oid]) => own.keyUsage !== undefined && !own.keyUsage.includes(oid))
  if (missing.length > 0) return `the certificate in MESH_TLS_CERT is not for use as a ${missing.map(([use]) => use).join(' and a ')}`
  if (!issuers.some((each) => own.checkIssued(each) && own.verify(each.publicKey))) {
    return 'the certificate in MESH_TLS_CERT was not issued by an authority in MESH_TLS_CA'
  }
  return undefined
}
