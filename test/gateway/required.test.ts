/** A client that is made from the OpenAPI document alone: what the document calls required is what the gateway refuses to be without. */
import { describe, expect, test } from 'vitest'
import { MeshError } from '#mesh/errors.ts'
import { methods } from '#mesh/grpc/descriptors.ts'
import type { Schema } from '../../gateway/docs/json-schema.ts'
import { openApi } from '../../gateway/docs/openapi.ts'
import { toRouterPath } from '../../gateway/contract/path-template.ts'
import { routesOf } from '../../gateway/contract/route-table.ts'
import { requestReader } from '../../gateway/transcoding/transcode.ts'

const routes = routesOf(methods.values())
const document = openApi(routes, { version: '0.0.0', reasons: [] })

const resolve = (schema: Schema): Schema =>
  typeof schema.$ref === 'string' ? document.components.schemas[schema.$ref.split('/').at(-1)!]! : schema

/** Texts of which each rule of the contracts takes one. */
const texts = [
  'a',
  '3a033cc1-0000-4000-8000-000000000001',
  'a'.repeat(64),
  '2025-10-06T06:15:00.000Z',
  '2025-10-06',
  'https://example.com/',
]

/** A value that the schema allows. */
function sample(given: Schema): unknown {
  const schema = resolve(given)
  if (Array.isArray(schema.enum)) return (schema.enum as unknown[]).find((each) => each !== '')
  if (schema.type === 'object')
    return Object.fromEntries(
      Object.entries((schema.properties ?? {}) as Record<string, Schema>).map(([name, each]) => [name, sample(each)]),
    )
  if (schema.type === 'array') return [sample(schema.items as Schema)]
  if (schema.type === 'integer' || schema.type === 'number') return Math.max(1, Number(schema.minimum ?? 1))
  if (schema.type === 'boolean') return true
  if (schema.type !== 'string') return 'anything'
  const found = texts.find(
    (text) =>
      (schema.format !== 'uuid' || text.length === 36) &&
      (schema.pattern === undefined || new RegExp(schema.pattern as string, 'u').test(text)) &&
      text.length >= Number(schema.minLength ?? 0) &&
      text.length <= Number(schema.maxLength ?? Infinity),
  )
  if (found === undefined) throw new Error(`no text for ${JSON.stringify(schema)}`)
  return found
}

interface Field {
  where: 'path' | 'query' | 'header' | 'body'
  name: string
  required: boolean
  value: unknown
}

const calls = routes
  .filter(({ permission }) => permission !== undefined)
  .map((route) => {
    const operation = document.paths[route.endpoint.replaceAll('=**}', '}')]![route.httpMethod.toLowerCase()]!
    const body = operation.requestBody?.content['application/json']?.schema
    const { properties = {}, required = [] } = (body === undefined ? {} : resolve(body)) as {
      properties?: Record<string, Schema>
      required?: string[]
    }
    const fields: Field[] = [
      ...operation.parameters.map(({ in: where, name, required, schema }) => ({ where, name, required, value: sample(schema) })),
      ...Object.entries(properties).map(([name, schema]) => ({
        where: 'body' as const,
        name,
        required: required.includes(name),
        value: sample(schema),
      })),
    ]
    return { route, fields, hasBody: body !== undefined }
  })

/** Why the gateway refuses a request of these fields, by field; empty where it takes it. */
function refused({ route, hasBody }: (typeof calls)[number], fields: readonly Field[]): string[] {
  const of = (where: Field['where']) => fields.filter((field) => field.where === where)
  const variables = toRouterPath(route.template).variables
  const query = of('query').flatMap(({ name, value }) =>
    (Array.isArray(value) ? value : [value]).map((each) => `${name}=${encodeURIComponent(String(each))}`),
  )
  try {
    requestReader(route)({
      params: Object.fromEntries(
        of('path').map(({ name, value }) => [variables.find(({ field }) => field.join('.') === name)!.parameter, String(value)]),
      ),
      query: query.join('&'),
      headers: Object.fromEntries(of('header').map(({ name, value }) => [name.toLowerCase(), String(value)])),
      body: hasBody ? Buffer.from(JSON.stringify(Object.fromEntries(of('body').map(({ name, value }) => [name, value])))) : undefined,
    })
    return []
  } catch (error) {
    expect(error).toBeInstanceOf(MeshError)
    return [...new Set((error as MeshError).violations.map(({ field }) => field))]
  }
}

describe.each(calls)('$route.httpMethod $route.endpoint', (call) => {
  test('is taken with all that the document names, and with no more than it calls required', () => {
    expect(refused(call, call.fields)).toEqual([])
    expect(
      refused(
        call,
        call.fields.filter(({ required }) => required),
      ),
    ).toEqual([])
  })

  test('is refused without each field that the document calls required, by its name, and taken without each other one', () => {
    for (const left of call.fields) {
      const without = refused(
        call,
        call.fields.filter((field) => field !== left),
      )
      expect(without, `${left.where} ${left.name}`).toEqual(left.required ? [left.name] : [])
    }
  })
})

test('a key is made of a name and a role', () => {
  expect(document.components.schemas.CreateKeyRequest!.required).toEqual(['name', 'role'])
})
