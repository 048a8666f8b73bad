import { type DescMessage, type Message, fromBinary, hasOption } from '@bufbuild/protobuf'
import { createValidator } from '@bufbuild/protovalidate'
import { type FieldViolation, type MeshError, meshErrors } from '../../errors.ts'
import { extension, registry } from '../descriptors.ts'
import type { Interceptor } from './interceptor.ts'

const rules = extension('buf.validate.field')
const validator = createValidator({ registry })
const ruled = new Map<DescMessage, boolean>()

/** Whether a message, or one within it, has any rule: most responses and some requests have none, and need no second decoding. */
function hasRules(message: DescMessage, seen = new Set<DescMessage>()): boolean {
  const known = ruled.get(message)
  if (known !== undefined) return known
  if (seen.has(message)) return false
  seen.add(message)
  const found = message.fields.some((field) => hasOption(field, rules) || (field.message !== undefined && hasRules(field.message, seen)))
  ruled.set(message, found)
  return found
}

/** Bytes that are not a message of the contract, or one that nests deeper than any decoder here supports. */
export const malformed = (cause: unknown): MeshError =>
  meshErrors.INVALID_REQUEST({ message: 'The request is not a message of this contract.', cause })

function decode(message: DescMessage, request: Uint8Array): Message {
  try {
    return fromBinary(message, request)
  } catch (cause) {
    throw malformed(cause)
  }
}

/** The violations of a request against the contract's rules. Throws INVALID_REQUEST if it cannot be decoded. */
export function violationsOf(message: DescMessage, request: Uint8Array): FieldViolation[] {
  return hasRules(message) ? violationsIn(message, decode(message, request)) : []
}

/** The same for a decoded request. */
export function violationsIn(message: DescMessage, request: Message): FieldViolation[] {
  if (!hasRules(message)) return []
  const result = validator.validate(message, request)
  if (result.kind === 'valid') return []
  // A rule that cannot be evaluated is our mistake, not the caller's.
  if (result.kind === 'error') throw result.error
  return result.violations.map((violation) => ({
    field: violation.field.map((part) => ('name' in part ? part.name : 'index' in part ? String(part.index) : '?')).join('.'),
    description: violation.message,
  }))
}

/** Validates every request against its contract, whoever sends it: the gateway is not the only way in. */
export function validate(): Interceptor {
  return async (call, next) => {
    const violations = violationsOf(call.method.descriptor.input, call.request)
    if (violations.length > 0) throw meshErrors.INVALID_REQUEST({ violations })
    return next()
  }
}
