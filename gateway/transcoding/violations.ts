/** Why a JSON value is not a message: every invalid field, by path. Runs only after a rejection, so it may be slow. */
import { type DescField, type DescMessage, ScalarType, fromJson } from '@bufbuild/protobuf'
import type { JsonValue } from '@bufbuild/protobuf'
import type { Violations } from '#mesh/errors.ts'

/** Adds to `found` the violations of a value that is not a valid message. */
export function addJsonViolations(message: DescMessage, value: Readonly<Record<string, unknown>>, found: Violations, path = ''): void {
  const seen = new Set<DescField>()
  const fields = fieldsByKey(message)
  for (const [key, each] of Object.entries(value)) {
    const at = path + key
    const field = fields.get(key)
    if (field === undefined) found.add(at, 'is not a field of this request')
    else if (seen.has(field)) found.add(at, 'is given twice, by both of its names')
    else if (!accepts(message, key, each)) {
      const before = found.count
      addWithin(field, each, found, at)
      if (found.count === before) found.add(at, `must be ${wanted(field)}`)
    }
    if (field !== undefined) seen.add(field)
  }
}

/** The violations deeper down, if a field holds messages of Relay. */
function addWithin(field: DescField, value: unknown, found: Violations, at: string): void {
  const inner = field.fieldKind === 'message' || (field.fieldKind === 'list' && field.listKind === 'message') ? field.message : undefined
  if (inner === undefined || inner.typeName.startsWith('google.protobuf.')) return
  if (field.fieldKind === 'message') {
    if (isObject(value)) addJsonViolations(inner, value, found, `${at}.`)
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => isObject(item) && addJsonViolations(inner, item, found, `${at}.${index}.`))
  }
}

/** Under both names that the JSON mapping knows. */
const fieldsByKey = (message: DescMessage): ReadonlyMap<string, DescField> =>
  new Map(message.fields.flatMap((field) => [[field.name, field] as const, [field.jsonName, field] as const]))

function accepts(message: DescMessage, key: string, value: unknown): boolean {
  try {
    fromJson(message, { [key]: value as JsonValue })
    return true
  } catch {
    return false
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

function wanted(field: DescField): string {
  if (field.fieldKind === 'list') return `a list, each ${single(field)}`
  if (field.fieldKind === 'map') return 'an object'
  return single(field)
}

function single(field: DescField): string {
  if (field.enum !== undefined) return `one of ${field.enum.values.map(({ name }) => name).join(', ')}`
  if (field.scalar === undefined) return 'an object'
  switch (field.scalar) {
    case ScalarType.STRING:
      return 'a string'
    case ScalarType.BOOL:
      return 'true or false'
    case ScalarType.BYTES:
      return 'base64 text'
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return 'a number'
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return 'a whole number from 0 to 4294967295'
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return 'a whole number from -2147483648 to 2147483647'
    default:
      return 'a whole number'
  }
}
