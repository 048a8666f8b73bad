/** The routes as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1.html). Pure: the same contracts give the same document. */
import { type DescField, getOption, hasOption } from '@bufbuild/protobuf'
import { extension } from '#mesh/grpc/descriptors.ts'
import { commentOf } from './comments.ts'
import { isHttpBody } from '../contract/http-body.ts'
import { type Schema, Schemas, isRequired } from './json-schema.ts'
import type { DocumentedReason } from './reasons.ts'
import { type Route, fieldAt } from '../contract/route-table.ts'

export interface Parameter {
  name: string
  in: 'path' | 'query' | 'header'
  required: boolean
  description?: string
  schema: Schema
}

export interface Operation {
  operationId: string
  tags: string[]
  summary: string
  description: string
  parameters: Parameter[]
  /** JSON of a program; a form of a browser. */
  requestBody?: { required: true; content: Record<string, { schema: Schema }> }
  responses: Record<string, unknown>
  /** Given, and empty, where no key is asked for. */
  security?: []
  /** Absent where a browser navigates, which shows no key. */
  'x-relay-permission'?: string
}

export interface OpenApi {
  openapi: '3.1.1'
  info: { title: string; version: string; description: string }
  servers: { url: string }[]
  security: Record<string, string[]>[]
  tags: { name: string; description: string }[]
  paths: Record<string, Record<string, Operation>>
  components: { securitySchemes: unknown; schemas: Record<string, Schema>; headers: Record<string, unknown>; responses: unknown }
}

const headerOption = extension('relay.mesh.v1.header')

export function openApi(
  routes: readonly Route[],
  { version, reasons }: { version: string; reasons: readonly DocumentedReason[] },
): OpenApi {
  const schemas = new Schemas()
  const paths: OpenApi['paths'] = {}
  for (const route of routes) {
    const path = route.endpoint.replaceAll('=**}', '}')
    ;(paths[path] ??= {})[route.httpMethod.toLowerCase()] = operation(route, schemas)
  }
  const tags = [...new Set(routes.map(({ upstream }) => upstream))].map((name) => {
    const services = new Set(routes.filter(({ upstream }) => upstream === name).map(({ method }) => method.descriptor.parent))
    return { name, description: [...services].map(commentOf).join(' ').trim() }
  })
  return {
    openapi: '3.1.1',
    info: {
      title: 'Relay',
      version,
      description: 'See an action before it happens, do exactly what was shown, do it once, and find out afterwards what happened.',
    },
    servers: [{ url: '/' }],
    security: [{ key: [] }],
    tags,
    paths,
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key, as Authorization: Bearer <key>.' } },
      schemas: { ...schemas.components, Problem: problemSchema(reasons) },
      headers,
      responses: {
        Problem: {
          description:
            'Why nothing was done: a problem document (RFC 9457), `reason` for programs, `detail` for people. /docs explains each reason.',
          headers: { ...every, 'Retry-After': { $ref: '#/components/headers/Retry-After' } },
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        },
      },
    },
  }
}

function operation(route: Route, schemas: Schemas): Operation {
  const { descriptor } = route.method
  const description = commentOf(descriptor)
  const { parameters, inBody } = parametersOf(route, schemas)
  const body =
    route.body === undefined ? undefined : route.body === '*' ? schemas.request(descriptor.input, inBody) : schemas.parameter(route.body)
  return {
    operationId: descriptor.localName,
    tags: [route.upstream],
    summary: /^.*?[.](?=\s|$)/.exec(description)?.[0].slice(0, -1) ?? descriptor.name,
    description,
    parameters,
    ...(body === undefined ? {} : { requestBody: { required: true, content: { [bodyTypeOf(route)]: { schema: body } } } }),
    ...(route.permission === undefined
      ? { responses: pageResponses, security: [] }
      : {
          responses: {
            '200': {
              description: 'Done.',
              headers: { ...every, ...limits, ...(linksPages(route) ? refer('Link') : {}) },
              content: contentOf(route, schemas),
            },
            default: { $ref: '#/components/responses/Problem' },
          },
          'x-relay-permission': route.permission,
        }),
  }
}

const bodyTypeOf = ({ permission }: Route) => (permission === undefined ? 'application/x-www-form-urlencoded' : 'application/json')

/** A contract does not say which content type an HttpBody will have. */
const contentOf = ({ method: { descriptor } }: Route, schemas: Schemas): Record<string, { schema: Schema }> =>
  isHttpBody(descriptor.output)
    ? { '*/*': { schema: { type: 'string', format: 'binary' } } }
    : { 'application/json': { schema: schemas.response(descriptor.output) } }

/** What is not JSON has no room for a next_page_token. */
const linksPages = ({ method: { descriptor } }: Route): boolean =>
  isHttpBody(descriptor.output) && descriptor.input.fields.some(({ name }) => name === 'page_token')

/** Where each field of the request comes from. */
function parametersOf(route: Route, schemas: Schemas): { parameters: Parameter[]; inBody: (field: DescField) => boolean } {
  const { input } = route.method.descriptor
  const inPath = route.template.segments.flatMap((segment) =>
    segment.kind === 'literal' || segment.field === undefined ? [] : [segment.field],
  )
  const parameter = (name: string, place: Parameter['in'], field: DescField, required: boolean): Parameter => {
    const description = commentOf(field)
    return { name, in: place, required, ...(description === '' ? {} : { description }), schema: schemas.parameter(field) }
  }
  const parameters = inPath.map((path) => parameter(path.join('.'), 'path', fieldAt(input, path)!, true))
  const headerFields = input.fields.filter((field) => hasOption(field, headerOption))
  // A page's are what the browser sends by itself.
  if (route.permission !== undefined)
    parameters.push(...headerFields.map((field) => parameter(getOption(field, headerOption) as string, 'header', field, isRequired(field))))
  const bound = new Set<string>([...inPath.map((path) => path[0]!), ...headerFields.map(({ name }) => name)])
  if (route.body !== '*') {
    const read = ({ proto }: DescField) => route.permission !== undefined || proto.options?.deprecated !== true
    const inQuery = input.fields.filter(
      (field) => !bound.has(field.name) && field !== route.body && field.fieldKind !== 'message' && read(field),
    )
    parameters.push(...inQuery.map((field) => parameter(field.name, 'query', field, isRequired(field))))
  }
  return { parameters, inBody: (field) => !bound.has(field.name) }
}

const text = (description: string, example?: string) => ({
  description,
  schema: { type: 'string' },
  ...(example === undefined ? {} : { example }),
})

const headers: Record<string, unknown> = {
  'X-Request-ID': text('The id of this request, a UUID v4: in the body too, and in every log line about it.'),
  'X-Trace-Link': text('Where to look at this request in Grafana; sent where one is configured.'),
  'Idempotency-Replayed': text('"true" where the answer is that of an earlier call with the same key.', 'true'),
  RateLimit: text(
    'What is left of the limit (draft-ietf-httpapi-ratelimit-headers): r, and t seconds until there is more.',
    '"workspace";r=599;t=42',
  ),
  'RateLimit-Policy': text('The limit: q requests in w seconds.', '"workspace";q=600;w=60'),
  Location: text('Where the browser goes next.'),
  Link: text('The next page, as rel="next" (RFC 8288); absent on the last one.', '</things?page_token=abc>; rel="next"'),
  'Retry-After': { description: 'Seconds after which it is worth trying again.', schema: { type: 'integer', minimum: 1 } },
}
const refer = (...names: string[]) => Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
const every = refer('X-Request-ID', 'X-Trace-Link')
const page = (description: string) => ({ description, headers: every, content: { 'text/html': { schema: { type: 'string' } } } })
/** What a browser is answered. */
const pageResponses = {
  '200': page('A page that says how it went.'),
  '3XX': { description: 'Where the browser goes next.', headers: { ...every, ...refer('Location') } },
  default: page('A page that says why not, with the id of the request.'),
}
const limits = refer('RateLimit', 'RateLimit-Policy', 'Idempotency-Replayed')

const problemSchema = (reasons: readonly DocumentedReason[]): Schema => ({
  type: 'object',
  properties: {
    type: { type: 'string', format: 'uri-reference', description: 'Where the reason is explained.' },
    title: { type: 'string' },
    status: { type: 'integer', minimum: 400, maximum: 599 },
    detail: { type: 'string', description: 'What is wrong and, where that can be said, what to do.' },
    reason: { type: 'string', enum: [...new Set(reasons.map(({ reason }) => reason))].sort() },
    request_id: { type: 'string', format: 'uuid' },
    violations: {
      type: 'array',
      items: {
        type: 'object',
        properties: { field: { type: 'string', description: 'A path like params.url, or a header.' }, description: { type: 'string' } },
        required: ['field', 'description'],
      },
    },
  },
  required: ['type', 'title', 'status', 'detail', 'reason', 'request_id'],
  // Facts about the case at hand, such as the run_id that is in the way.
  additionalProperties: { type: 'string' },
})
