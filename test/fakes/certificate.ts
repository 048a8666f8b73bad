/** Certificates, made on the spot, so that no key lies in the repository: X.509 v3 in DER (RFC 5280), ECDSA on P-256. */
import { type KeyObject, generateKeyPairSync, randomBytes, sign } from 'node:crypto'

/** Both in PEM. */
export interface Certificate {
  key: string
  cert: string
}

export interface CertificateRequest {
  commonName?: string
  uris?: readonly string[]
  dnsNames?: readonly string[]
  /** When it begins and ends to be valid, in epoch milliseconds; the hour around now when unset. */
  notBefore?: number
  notAfter?: number
  authority?: boolean
  /** What it may be used for; anything when unset. */
  usages?: readonly ('server' | 'client')[]
}

export interface Authority {
  /** In PEM, for whoever is to trust it. */
  readonly cert: string
  issue(request: CertificateRequest): Certificate
  /** An authority that this one vouches for. */
  under(name: string): Authority
}

/** Valid for the hour around now; trusted by whoever is given `cert`. */
export function selfSignedCertificate(name: string): Certificate {
  const { publicKey, privateKey } = newKeys()
  const body = certificateBody({ commonName: name, dnsNames: [name], authority: true }, publicKey, name)
  return { key: keyPem(privateKey), cert: certificatePem(body, privateKey) }
}

/** A certificate authority of that name. Two of one name have nothing else in common. */
export function certificateAuthority(name: string, above?: { name: string; privateKey: KeyObject }): Authority {
  const { publicKey, privateKey } = newKeys()
  const own = certificateBody({ commonName: name, authority: true }, publicKey, above?.name ?? name)
  return {
    cert: certificatePem(own, above?.privateKey ?? privateKey),
    issue: (request) => {
      const holder = newKeys()
      return { key: keyPem(holder.privateKey), cert: certificatePem(certificateBody(request, holder.publicKey, name), privateKey) }
    },
    under: (subordinate) => certificateAuthority(subordinate, { name, privateKey }),
  }
}

const newKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const keyPem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()

function certificateBody(request: CertificateRequest, publicKey: KeyObject, issuer: string): Buffer {
  const names = [
    ...(request.uris ?? []).map((uri) => der(0x86, Buffer.from(uri, 'latin1'))),
    ...(request.dnsNames ?? []).map((name) => der(0x82, Buffer.from(name, 'latin1'))),
  ]
  const usages = (request.usages ?? []).map((usage) => oid(0x2b, 6, 1, 5, 5, 7, 3, usage === 'server' ? 1 : 2))
  const extensions = [
    ...(names.length === 0 ? [] : [extension(0x11, sequence(...names))]), // subjectAltName
    ...(request.authority ? [extension(0x13, sequence(der(0x01, Buffer.of(0xff))))] : []), // basicConstraints
    ...(usages.length === 0 ? [] : [extension(0x25, sequence(...usages))]), // extKeyUsage
  ]
  const validity = sequence(time(request.notBefore ?? Date.now() - 1_800_000), time(request.notAfter ?? Date.now() + 1_800_000))
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const version = der(0xa0, der(0x02, Buffer.of(2)))
  const serial = der(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)]))
  const subject = distinguishedName(request.commonName ?? 'nobody')
  const parts = [version, serial, ecdsaWithSha256, distinguishedName(issuer), validity, subject, spki]
  return sequence(...parts, ...(extensions.length === 0 ? [] : [der(0xa3, sequence(...extensions))]))
}

function certificatePem(body: Buffer, signer: KeyObject): string {
  const signature = der(0x03, Buffer.of(0), sign('sha256', body, signer))
  const base64 = sequence(body, ecdsaWithSha256, signature).toString('base64')
  return `-----BEGIN CERTIFICATE-----\n${base64.match(/.{1,64}/g)!.join('\n')}\n-----END CERTIFICATE-----\n`
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...size), content])
}

const sequence = (...parts: Buffer[]) => der(0x30, ...parts)
const oid = (...bytes: number[]) => der(0x06, Buffer.of(...bytes))
const extension = (id: number, value: Buffer) => sequence(oid(0x55, 0x1d, id), der(0x04, value))
const distinguishedName = (commonName: string) => sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(commonName)))))
/** A GeneralizedTime; RFC 5280 wants UTCTime before 2050, which parsers do not insist on. */
const time = (at: number) => der(0x18, Buffer.from(`${new Date(at).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`))
const ecdsaWithSha256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02))
