/** Messages of the contracts → JSON Schema (draft 2020-12), as the gateway reads them (requests) and writes them (responses). Pure. */
import { type DescField, type DescMessage, type Message, ScalarType, create, getOption, hasOption } from '@bufbuild/protobuf'
import { extension } from '#mesh/grpc/descriptors.ts'
import { violationsIn } from '#mesh/grpc/interceptors/validate.ts'
import { commentOf } from './comments.ts'

export type Schema = Record<string, unknown>

const rulesOption = extension('buf.validate.field')

/** The shape of buf.validate.FieldRules, as far as Relay's contracts use it. */
interface Rules extends Message {
  type: { case: string | undefined; value: Record<string, unknown> }
}

/** Collects the schemas of messages under their names, so that documents can refer to them. */
export class Schemas {
  readonly components: Record<string, Schema> = {}
  readonly #names = new Map<string, DescMessage>()

  /** A response: every field is present, null if it is optional and absent. */
  response(message: DescMessage): Schema {
    return this.#reference(message, message.name, (field) => this.#field(field, 'response'))
  }

  /** A request, or the part of it that comes in the body: the fields that `take` accepts. */
  request(message: DescMessage, take: (field: DescField) => boolean = () => true): Schema {
    return this.#reference(
      message,
      message.name.endsWith('Request') ? message.name : `${message.name}Input`,
      (field) => this.#field(field, 'request'),
      take,
    )
  }

  /** The schema of one request field that is a parameter. */
  parameter(field: DescField): Schema {
    return this.#field(field, 'request')
  }

  #reference(message: DescMessage, name: string, describe: (field: DescField) => Schema, take?: (field: DescField) => boolean): Schema {
    const known = this.#names.get(name)
    if (known !== undefined && known !== message)
      throw new Error(`${message.typeName} and ${known.typeName} have the same name in the document`)
    if (known === undefined) {
      this.#names.set(name, message)
      const fields = message.fields.filter((field) => take?.(field) ?? true).toSorted((one, other) => one.number - other.number)
      const required = fields.filter((field) => take === undefined || isRequired(field)).map((field) => field.name)
      this.components[name] = {
        type: 'object',
        ...described(commentOf(message)),
        properties: Object.fromEntries(fields.map((field) => [field.name, { ...describe(field), ...described(commentOf(field)) }])),
        ...(required.length > 0 ? { required } : {}),
        additionalProperties: false,
      }
    }
    return { $ref: `#/components/schemas/${name}` }
  }

  #field(field: DescField, side: 'request' | 'response'): Schema {
    if (field.fieldKind === 'list') {
      const rules = rulesOf(field, 'repeated')
      return { type: 'array', items: this.#single(field, side), ...renamed(rules, { minItems: 'minItems', maxItems: 'maxItems' }) }
    }
    const single = this.#single(field, side)
    const optional = field.presence !== implicit
    if (side === 'request' || !optional) return single
    return typeof single.type === 'string' ? { ...single, type: [single.type, 'null'] } : { oneOf: [single, { type: 'null' }] }
  }

  #single(field: DescField, side: 'request' | 'response'): Schema {
    if (field.message?.typeName === 'google.protobuf.Struct') return { type: 'object', additionalProperties: true }
    if (field.message?.typeName === 'google.protobuf.Value') return {}
    if (field.message?.typeName === 'google.protobuf.ListValue') return { type: 'array', items: {} }
    if (field.message !== undefined) return side === 'request' ? this.request(field.message) : this.response(field.message)
    if (field.enum !== undefined) return { type: 'string', enum: field.enum.values.map(({ name }) => name) }
    return scalarSchema(field)
  }
}

const implicit = 2

const described = (description: string) => (description === '' ? {} : { description })

const missing = new Map<DescMessage, ReadonlySet<string>>()

/** Whether a request without the field is rejected. It runs the rules that validate requests, so the two cannot differ. */
export function isRequired(field: DescField): boolean {
  const { parent } = field
  const known = missing.get(parent) ?? new Set(violationsIn(parent, create(parent)).map((violation) => violation.field))
  missing.set(parent, known)
  return known.has(field.name)
}

const rules = (field: DescField): Rules | undefined =>
  hasOption(field, rulesOption) ? (getOption(field, rulesOption) as Rules) : undefined

function rulesOf(field: DescField, kind: string): Record<string, unknown> {
  const found = rules(field)?.type
  return found?.case === kind ? found.value : {}
}

/** The rules that are set, under their JSON Schema names. */
function renamed(values: Record<string, unknown>, names: Record<string, string>): Schema {
  return Object.fromEntries(
    Object.entries(names).flatMap(([rule, keyword]) => {
      const value = values[rule]
      const set = Object.hasOwn(values, rule) && value !== undefined
      return set ? [[keyword, typeof value === 'bigint' ? Number(value) : value]] : []
    }),
  )
}

function scalarSchema(field: DescField): Schema {
  switch (field.scalar) {
    case ScalarType.STRING:
      return stringSchema(rulesOf(field, 'string'))
    case ScalarType.BYTES:
      return { type: 'string', contentEncoding: 'base64' }
    case ScalarType.BOOL:
      return { type: 'boolean' }
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return { type: 'number' }
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return { type: 'integer', minimum: 0, maximum: 4294967295, ...renamed(rulesOf(field, 'uint32'), { gte: 'minimum', lte: 'maximum' }) }
    default:
      return { type: 'integer', minimum: -2147483648, maximum: 2147483647 }
  }
}

function stringSchema(values: Record<string, unknown>): Schema {
  const wellKnown = values.wellKnown as { case?: string } | undefined
  const choices = values.in as string[] | undefined
  return {
    type: 'string',
    ...renamed(values, { minLen: 'minLength', maxLen: 'maxLength', pattern: 'pattern' }),
    ...(values.uuid === true || wellKnown?.case === 'uuid' ? { format: 'uuid' } : {}),
    ...(choices !== undefined && choices.length > 0 ? { enum: choices } : {}),
  }
}
