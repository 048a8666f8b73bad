/** MeshError ⇄ gRPC status, in this one place: google.rpc.Status with ErrorInfo, BadRequest and RetryInfo (https://google.aip.dev/193). */
import { Metadata, type ServiceError, type StatusObject } from '@grpc/grpc-js'
import type { Any } from '#gen/google/protobuf/any.ts'
import { BadRequest, ErrorInfo, RetryInfo } from '#gen/google/rpc/error_details.ts'
import { Status } from '#gen/google/rpc/status.ts'
import { type Code, type FieldViolation, MeshError, codes, meshErrors, messageListing } from '../errors.ts'
import { key } from '../telemetry/names.ts'

const type = (name: string) => `type.googleapis.com/google.rpc.${name}`
/** Reasons are unique within their domain, e.g. "actions.relay". */
const suffix = '.relay'
/**
 * How much of an error is sent, in bytes of UTF-8. It travels as headers, of which the strictest clients (grpc's C core) accept 8 KiB. They
 * contain the message twice, once percent-encoded, and the details grow by a third in base64. The total stays under 8 KiB.
 */
const max = { message: 768, violation: 256, violations: 2048, metadata: 1024 }
/** The overhead of a pair: tags and lengths. */
const overhead = 8
const maxRetryMs = 2 ** 31 - 1

/** The text without what cannot be encoded (half of a surrogate pair makes encodeURI throw), cut at a whole character. */
function cut(text: string, bytes: number): string {
  const whole = text.toWellFormed()
  if (Buffer.byteLength(whole) <= bytes) return whole
  const { read } = new TextEncoder().encodeInto(whole, new Uint8Array(bytes - 3))
  return `${whole.slice(0, read)}…`
}

/** The first whole pairs that fit together. */
function firstWithin(pairs: readonly (readonly [string, string])[], bytes: number): (readonly [string, string])[] {
  let left = bytes
  return pairs.filter(([one, other]) => (left -= Buffer.byteLength(one) + Buffer.byteLength(other) + overhead) >= 0)
}

/** What is sent of an error. Never throws, whatever a handler put into it; the cause is not sent. */
export function toStatus(error: MeshError): Partial<StatusObject> {
  const shortened = error.violations.map((each) => [cut(each.field, max.violation), cut(each.description, max.violation)] as const)
  const fieldViolations = firstWithin(shortened, max.violations).map(([field, description]) => ({ field, description, reason: '' }))
  const message = cut(messageListing(error, fieldViolations.length), max.message)
  const metadataSent = Object.fromEntries(firstWithin(Object.entries(error.metadata), max.metadata))
  const details: Any[] = [
    {
      typeUrl: type('ErrorInfo'),
      value: ErrorInfo.encode({ reason: error.reason, domain: error.domain + suffix, metadata: metadataSent }).finish() as Buffer,
    },
  ]
  if (fieldViolations.length > 0) {
    details.push({ typeUrl: type('BadRequest'), value: BadRequest.encode(BadRequest.fromPartial({ fieldViolations })).finish() as Buffer })
  }
  if (error.retryAfterMs !== undefined && !Number.isNaN(error.retryAfterMs)) {
    const ms = Math.min(Math.max(0, Math.ceil(error.retryAfterMs)), maxRetryMs)
    const retryDelay = { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 }
    details.push({ typeUrl: type('RetryInfo'), value: RetryInfo.encode(RetryInfo.fromPartial({ retryDelay })).finish() as Buffer })
  }
  const code = codes[error.code]
  const metadata = new Metadata()
  metadata.set(key.statusDetails, Buffer.from(Status.encode({ code, message, details }).finish()))
  return { code, details: message, metadata }
}

const codeNames = new Map<number, Code>(Object.entries(codes).map(([name, code]) => [code, name as Code]))

/** The meaning of a failed call. An error without our details comes from the transport, or from outside the mesh. */
export function fromServiceError(error: ServiceError): MeshError {
  const encoded = error.metadata?.get(key.statusDetails)[0]
  if (Buffer.isBuffer(encoded)) {
    const decoded = decodeDetails(encoded)
    if (decoded !== undefined) return decoded
  }
  const code = codeNames.get(error.code) ?? 'UNKNOWN'
  if (code === 'UNAVAILABLE') return meshErrors.DEPENDENCY_UNAVAILABLE({ cause: error })
  if (code === 'DEADLINE_EXCEEDED') return meshErrors.DEADLINE_EXCEEDED({ cause: error })
  if (code === 'CANCELLED') return meshErrors.CANCELLED({ cause: error })
  if (code === 'UNIMPLEMENTED') return meshErrors.UNIMPLEMENTED({ cause: error })
  // A stream or message over a limit.
  if (code === 'RESOURCE_EXHAUSTED') return meshErrors.OVERLOADED({ cause: error })
  return meshErrors.INTERNAL({ cause: error })
}

function decodeDetails(encoded: Buffer): MeshError | undefined {
  try {
    const status = Status.decode(encoded)
    const find = (name: string) => status.details.find((each) => each.typeUrl === type(name))?.value
    const info = find('ErrorInfo')
    if (info === undefined) return undefined
    const { reason, domain, metadata } = ErrorInfo.decode(info)
    const badRequest = find('BadRequest')
    const violations: FieldViolation[] =
      badRequest === undefined
        ? []
        : BadRequest.decode(badRequest).fieldViolations.map(({ field, description }) => ({ field, description }))
    const retry = find('RetryInfo')
    const delay = retry === undefined ? undefined : RetryInfo.decode(retry).retryDelay
    const retryAfterMs = delay === undefined ? undefined : delay.seconds * 1000 + Math.round(delay.nanos / 1_000_000)
    const from = domain.endsWith(suffix) ? domain.slice(0, -suffix.length) : domain
    return new MeshError(from, reason, codeNames.get(status.code) ?? 'UNKNOWN', status.message, { violations, retryAfterMs, metadata })
  } catch {
    return undefined
  }
}
