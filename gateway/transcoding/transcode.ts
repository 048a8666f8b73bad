/**
 * HTTP request → message bytes, strictly by the contract: input that is not in the contract is rejected by name, and nothing is guessed.
 *
 * A field has one source: the path if the template binds it, a header if the contract says so (relay.mesh.v1.header), else the body, or the
 * query if the route has no body. All values are collected into one JSON object, read by protobuf's own JSON rules
 * (https://protobuf.dev/programming-guides/json/), and then checked against the contract's validation rules.
 *
 * A route that returns a Page is for browsers, and differs in two ways. Its body is a form. And the page that sent the browser here, e.g.
 * an OAuth provider, may have added its own parameters to the URL (RFC 6749, 4.1.2: ignored), in any encoding: only the fields of the
 * contract count, and the others are not read.
 */
import {
  type DescField,
  type DescMessage,
  type JsonObject,
  ScalarType,
  create,
  fromJson,
  getOption,
  hasOption,
  toBinary,
} from '@bufbuild/protobuf'
import { type FieldViolation, Violations, meshErrors } from '#mesh/errors.ts'
import { extension } from '#mesh/grpc/descriptors.ts'
import { violationsIn } from '#mesh/grpc/interceptors/validate.ts'
import { parseJsonObject } from './json.ts'
import { toRouterPath } from '../contract/path-template.ts'
import { parseForm, parseQuery } from '../contract/query.ts'
import { type Route, fieldAt } from '../contract/route-table.ts'
import { addJsonViolations } from './violations.ts'

/** One HTTP request, as far as it becomes a message. */
export interface HttpRequest {
  /** The parameters of the router's path, decoded. */
  params: Readonly<Record<string, string>>
  /** Without the question mark; empty if there is none. */
  query: string
  headers: Readonly<Record<string, string | string[] | undefined>>
  /** Undefined if none was sent. */
  body: Uint8Array | undefined
}

interface HeaderField {
  field: DescField
  /** As the contract spells it. */
  header: string
  /** As Node spells it. */
  key: string
}

const headerOption = extension('relay.mesh.v1.header')

/** The reader of one route. It throws INVALID_REQUEST with every invalid field, INVALID_JSON or INVALID_URL. */
export function requestReader(route: Route): (incoming: HttpRequest) => Uint8Array {
  const { input } = route.method.descriptor
  const variables = toRouterPath(route.template).variables
  const headerFields = headerFieldsOf(input)
  const bound = new Map<string, string>([
    ...variables.map(({ field }) => [field.join('.'), 'the path'] as const),
    ...headerFields.map(({ field, header }) => [field.name, `the header ${header}`] as const),
  ])
  const plain = route.body === undefined && variables.length === 0 && headerFields.length === 0
  const empty = toBinary(input, create(input))
  const emptyIsValid = violationsIn(input, create(input)).length === 0
  const forBrowser = route.permission === undefined
  const isForm = forBrowser && route.body === '*'
  /** The field of a parameter, if it may be given in this way. */
  const fieldOf = (path: readonly string[]): DescField | undefined => {
    const field = route.body === '*' && !isForm ? undefined : fieldAt(input, path)
    return forBrowser && field?.proto.options?.deprecated === true ? undefined : field
  }

  return (incoming) => {
    if (route.body === undefined && incoming.body !== undefined && incoming.body.length > 0) {
      throw invalid(listing([{ field: '', description: 'this request takes no body' }]))
    }
    if (plain && emptyIsValid && incoming.query === '') return empty
    const violations = new Violations()
    const json: JsonObject = route.body === undefined || isForm ? {} : bodyOf(route.body, incoming.body)
    if (route.body === '*') addMisplaced(json, input, bound, violations)
    const given = isForm ? String(incoming.body ?? '') : incoming.query
    if (given !== '') {
      const isRead = (name: string) => !bound.has(name) && fieldOf(name.split('.')) !== undefined
      const parameters = forBrowser ? parseForm(given).filter(([name]) => isRead(name)) : parseQuery(given)
      readParameters({ route, parameters, fieldOf, bound }, json, violations)
    }
    for (const { field, parameter } of variables) {
      const value = incoming.params[parameter] ?? ''
      if (checkText(field.join('.'), value, violations)) put(json, field, scalarJson(fieldAt(input, field)!, value))
    }
    for (const { field, header, key } of headerFields) {
      const value = incoming.headers[key]
      if (value === undefined) continue
      if (typeof value !== 'string') violations.add(header, 'is sent more than once')
      else if (value === '') violations.add(header, 'is empty')
      else put(json, [field.name], scalarJson(field, value))
    }
    if (violations.count > 0) throw invalid(violations)
    return toMessage(input, json, headerFields)
  }
}

function toMessage(input: DescMessage, json: JsonObject, headerFields: readonly HeaderField[]): Uint8Array {
  const named = (field: string) => headerFields.find((each) => each.field.name === field)?.header ?? field
  let message
  try {
    message = fromJson(input, json)
  } catch (cause) {
    const found = new Violations()
    addJsonViolations(input, json, found)
    if (found.count === 0) found.add('', 'does not fit the contract')
    throw invalid(found, named, cause)
  }
  const violations = violationsIn(input, message)
  if (violations.length > 0) throw invalid(listing(violations), named)
  return toBinary(input, message)
}

function listing(found: readonly FieldViolation[]): Violations {
  const violations = new Violations()
  for (const { field, description } of found) violations.add(field, description)
  return violations
}

/** INVALID_REQUEST that names the first field in its sentence and all of them in its violations. */
function invalid({ listed, count }: Violations, named = (field: string) => field, cause?: unknown) {
  const violations = listed.map(({ field, description }) => ({ field: named(field), description }))
  const { field, description } = violations[0]!
  const what = field === '' ? description : `${field} ${description}`
  return meshErrors.INVALID_REQUEST({ message: `The request is not valid: ${what}.`, violations, violationCount: count, cause })
}

function headerFieldsOf(input: DescMessage): HeaderField[] {
  return input.fields
    .filter((field) => hasOption(field, headerOption))
    .map((field) => {
      const header = getOption(field, headerOption) as string
      if (field.fieldKind !== 'scalar') throw new Error(`${field.toString()} is filled from the header ${header}, and is not a scalar`)
      return { field, header, key: header.toLowerCase() }
    })
}

function bodyOf(body: '*' | DescField, bytes: Uint8Array | undefined): JsonObject {
  const object = parseJsonObject(bytes ?? new Uint8Array()) as JsonObject
  return body === '*' ? object : { [body.name]: object }
}

/** Fields in the body that have another source. Checks both names, because the JSON mapping knows two. */
function addMisplaced(json: JsonObject, input: DescMessage, bound: ReadonlyMap<string, string>, violations: Violations): void {
  for (const { name, jsonName } of input.fields) {
    const source = bound.get(name)
    if (source === undefined) continue
    for (const key of new Set([name, jsonName])) {
      if (Object.hasOwn(json, key)) violations.add(key, `comes from ${source}, not from the body`)
    }
  }
}

interface Parameters {
  route: Route
  parameters: readonly (readonly [name: string, value: string])[]
  /** Undefined if the contract has no such field, or it may not be given in this way. */
  fieldOf: (path: readonly string[]) => DescField | undefined
  bound: ReadonlyMap<string, string>
}

function readParameters({ route, parameters, fieldOf, bound }: Parameters, json: JsonObject, violations: Violations): void {
  const seen = new Set<string>()
  for (const [name, value] of parameters) {
    const path = name.split('.')
    const field = fieldOf(path)
    const source = bound.get(name)
    const leaf = field?.fieldKind === 'list' ? field.listKind !== 'message' : field?.fieldKind === 'scalar' || field?.fieldKind === 'enum'
    if (field === undefined || (route.body !== undefined && route.body !== '*' && path[0] === route.body.name)) {
      violations.add(name, 'is not a query parameter of this request')
    } else if (source !== undefined) violations.add(name, `comes from ${source}, not from the query`)
    else if (!leaf) violations.add(name, 'cannot be given in a query')
    else if (field.fieldKind !== 'list' && seen.has(name)) violations.add(name, 'is given more than once')
    else if (checkText(name, value, violations)) put(json, path, scalarJson(field, value), field.fieldKind === 'list')
    seen.add(name)
  }
}

/** Database text cannot hold NUL; a URL can. */
function checkText(field: string, value: string, violations: Violations): boolean {
  const bad = value.includes('\0')
  if (bad) violations.add(field, 'holds the character NUL (%00), which text cannot contain')
  return !bad
}

/** Text as the JSON value that the field's type reads. Other text stays text, and is rejected by name. */
function scalarJson(field: DescField, value: string): string | boolean {
  if (field.scalar === ScalarType.BOOL) return value === 'true' ? true : value === 'false' ? false : value
  const text = field.scalar === ScalarType.STRING || field.scalar === ScalarType.BYTES || field.scalar === undefined
  // protobuf's reader accepts everything that Number() does, such as 0x10.
  return text || /^-?\d+(\.\d+)?$/.test(value) ? value : `${value} `
}

function put(json: JsonObject, path: readonly string[], value: string | boolean, append = false): void {
  let object = json
  for (const name of path.slice(0, -1)) object = (object[name] ??= {}) as JsonObject
  const last = path.at(-1)!
  if (append) ((object[last] ??= []) as (string | boolean)[]).push(value)
  else object[last] = value
}

/** The headers that fill fields of a request, as the contract spells them. */
export const headerNamesOf = (input: DescMessage): string[] => headerFieldsOf(input).map(({ header }) => header)
