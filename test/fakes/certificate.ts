/** A self-signed certificate, made on the spot, so that no key lies in the repository: X.509 v3 in DER (RFC 5280), ECDSA on P-256. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'

/** Valid for the hour around now; trusted by whoever is given `cert`. */
export function selfSignedCertificate(name: string): { key: string; cert: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02)) // ecdsa-with-SHA256
  const subject = sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(name))))) // commonName
  const validity = sequence(time(Date.now() - 1_800_000), time(Date.now() + 1_800_000))
  const dnsName = sequence(der(0x82, Buffer.from(name)))
  const extensions = sequence(
    sequence(oid(0x55, 0x1d, 0x11), der(0x04, dnsName)), // subjectAltName
    sequence(oid(0x55, 0x1d, 0x13), der(0x04, sequence(der(0x01, Buffer.of(0xff))))), // basicConstraints: a CA, for it signs itself
  )
  const version = der(0xa0, der(0x02, Buffer.of(2)))
  const serial = der(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)]))
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const body = sequence(version, serial, algorithm, subject, validity, subject, spki, der(0xa3, extensions))
  const signature = der(0x03, Buffer.of(0), sign('sha256', body, privateKey))
  const base64 = sequence(body, algorithm, signature).toString('base64')
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
  }
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...size), content])
}

const sequence = (...parts: Buffer[]) => der(0x30, ...parts)
const oid = (...bytes: number[]) => der(0x06, Buffer.of(...bytes))
/** A GeneralizedTime; RFC 5280 wants UTCTime before 2050, which parsers do not insist on. */
const time = (at: number) => der(0x18, Buffer.from(`${new Date(at).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`))
