/** MeshError ⇄ gRPC status, the one place: google.rpc.Status with ErrorInfo, BadRequest and RetryInfo (https://google.aip.dev/193). */
import { Metadata, type ServiceError, type StatusObject } from '@grpc/grpc-js'
import { Any } from '#gen/google/protobuf/any.ts'
import { BadRequest, ErrorInfo, RetryInfo } from '#gen/google/rpc/error_details.ts'
import { Status } from '#gen/google/rpc/status.ts'
import { type Code, type FieldViolation, MeshError, codes, meshErrors } from '../errors.ts'
import { key } from '../telemetry/names.ts'

const type = (name: string) => `type.googleapis.com/google.rpc.${name}`
/** The reasons of a domain are unique to it, e.g. "actions.relay". */
const suffix = '.relay'
/** Header blocks have limits everywhere; a message longer than this helps nobody. */
const longestMessage = 1024
const mostViolations = 32

export function toStatus(error: MeshError): Partial<StatusObject> {
  const message = error.message.slice(0, longestMessage)
  const details: Any[] = [
    {
      typeUrl: type('ErrorInfo'),
      value: ErrorInfo.encode({ reason: error.reason, domain: error.domain + suffix, metadata: { ...error.metadata } }).finish() as Buffer,
    },
  ]
  if (error.violations.length > 0) {
    const fieldViolations = error.violations.slice(0, mostViolations).map((each) => ({
      field: each.field.slice(0, 256),
      description: each.description.slice(0, 256),
      reason: '',
    }))
    details.push({ typeUrl: type('BadRequest'), value: BadRequest.encode(BadRequest.fromPartial({ fieldViolations })).finish() as Buffer })
  }
  if (error.retryAfterMs !== undefined) {
    const retryDelay = { seconds: Math.floor(error.retryAfterMs / 1000), nanos: (error.retryAfterMs % 1000) * 1_000_000 }
    details.push({ typeUrl: type('RetryInfo'), value: RetryInfo.encode(RetryInfo.fromPartial({ retryDelay })).finish() as Buffer })
  }
  const code = codes[error.code]
  const metadata = new Metadata()
  metadata.set(key.statusDetails, Buffer.from(Status.encode({ code, message, details }).finish()))
  return { code, details: message, metadata }
}

const codeNames = new Map<number, Code>(Object.entries(codes).map(([name, code]) => [code, name as Code]))

/** What a failed call meant. An error without our details comes from the transport, or from something that is not of the mesh. */
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
      badRequest === undefined ? [] : BadRequest.decode(badRequest).fieldViolations.map(({ field, description }) => ({ field, description }))
    const retry = find('RetryInfo')
    const delay = retry === undefined ? undefined : RetryInfo.decode(retry).retryDelay
    const retryAfterMs = delay === undefined ? undefined : delay.seconds * 1000 + Math.round(delay.nanos / 1_000_000)
    const from = domain.endsWith(suffix) ? domain.slice(0, -suffix.length) : domain
    return new MeshError(from, reason, codeNames.get(status.code) ?? 'UNKNOWN', status.message, { violations, retryAfterMs, metadata })
  } catch {
    return undefined
  }
}
