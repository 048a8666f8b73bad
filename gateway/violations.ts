/** Why a JSON value is not a message: every field that is wrong, by path. Asked only once it was refused, so it may take its time. */
import { type DescField, type DescMessage, ScalarType, fromJson } from '@bufbuild/protobuf'
import type { JsonValue } from '@bufbuild/protobuf'
import type { FieldViolation } from '#mesh/errors.ts'

export function jsonViolations(message: DescMessage, value: Readonly<Record<string, unknown>>, path = ''): FieldViolation[] {
  const seen = new Set<DescField>()
  return Object.entries(value).flatMap(([key, each]) => {
    const field = path + key
    const found = message.fields.find(({ name, jsonName }) => name === key || jsonName === key)
    if (found === undefined) return [{ field, description: 'is not a field of this request' }]
    if (seen.has(found)) return [{ field, description: 'is given twice, by both of its names' }]
    seen.add(found)
    if (accepts(message, key, each)) return []
    const inner = found.fieldKind === 'message' || (found.fieldKind === 'list' && found.listKind === 'message') ? found.message : undefined
    if (inner !== undefined && !inner.typeName.startsWith('google.protobuf.')) {
      const items =
        found.fieldKind === 'message'
          ? [[field, each] as const]
          : Array.isArray(each)
            ? each.map((item, index) => [`${field}.${index}`, item] as const)
            : []
      const deeper = items.flatMap(([at, item]) => (isObject(item) ? jsonViolations(inner, item, `${at}.`) : []))
      if (deeper.length > 0) return deeper
    }
    return [{ field, description: `must be ${wanted(found)}` }]
  })
}

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
