/** Canonical JSON (RFC 8785): parameters become bytes once, at preview; those bytes are stored, shown, hashed and run. Pure. */
import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { errors } from './errors.ts'

const refuse = (field: string, description: string) => errors.INVALID_PARAMS({ violations: [{ field, description }] })

/** Parameters never nest deeper. */
const deepest = 32

/**
 * Rejects values that cannot be shown and run as the same thing: names that change the object they are in, numbers without a JSON form,
 * text that is not Unicode. Such values come only over gRPC; the gateway's JSON rejects them too. A number over gRPC is a double and stays
 * that double; the gateway rejects JSON digits that would be rounded to it.
 */
function check(value: unknown, path: string, depth: number): void {
  if (depth > deepest) throw refuse(path, `is nested deeper than ${deepest} levels`)
  if (value === undefined) throw refuse(path, 'is a google.protobuf.Value without a kind: send null_value for null')
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw refuse(path, 'is not a finite number')
  } else if (typeof value === 'string') {
    if (!value.isWellFormed() || value.includes('\0')) throw refuse(path, 'has characters that are not text')
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => check(item, `${path}.${index}`, depth + 1))
  } else if (typeof value === 'object' && value !== null) {
    // The gateway rejects such a key, and the protobuf decoder drops it. Even so, nothing may be read through a prototype.
    if (Object.getPrototypeOf(value) !== Object.prototype || Object.hasOwn(value, '__proto__')) throw refuse(path, 'has a key "__proto__"')
    for (const [name, item] of Object.entries(value)) check(item, `${path}.${name}`, depth + 1)
  }
}

/** The canonical bytes of parameters. Throws INVALID_PARAMS naming the field. */
export function canonicalBytes(params: unknown): Buffer {
  check(params, 'params', 0)
  return Buffer.from(canonicalize(params)!, 'utf8')
}

export const parseCanonical = (bytes: Buffer): Record<string, unknown> => JSON.parse(bytes.toString('utf8')) as Record<string, unknown>

/**
 * sha256 of (action, canonical parameters, connection), each prefixed with its length so that different inputs never concatenate to the
 * same bytes.
 */
export function fingerprint(action: string, params: Buffer, connectionId: string | undefined): Buffer {
  const hash = createHash('sha256')
  for (const part of [Buffer.from(action), params, Buffer.from(connectionId ?? '')]) {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(part.length)
    hash.update(length).update(part)
  }
  return hash.digest()
}
