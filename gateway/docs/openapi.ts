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
  /** JSON for a program; a form for a browser. */
  requestBody?: { required: true; content: Record<string, { schema: Schema }> }
  responses: Record<string, unknown>
  /** Present and empty if no key is required. */
  security?: []
  /** Absent if a browser navigates, which shows no key. */
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
      description: 'Preview an action, execute exactly what the preview showed, at most once, and find out afterwards what happened.',
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
            'A problem document (RFC 9457) that says why the request failed: `reason` is for programs, `detail` for people. /docs explains each reason.',
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

/** A response that is not JSON has no place for a next_page_token. */
const linksPages = ({ method: { descriptor } }: Route): boolean =>
  isHttpBody(descriptor.output) && descriptor.input.fields.some(({ name }) => name === 'page_token')

/** The source of each field of the request. */
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
  // The browser itself sends the headers and cookies of a page.
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
  'X-Request-ID': text('The id of this request, a UUID v4. It is also in the body and in every log line about the request.'),
  'X-Trace-Link': text('A link to this request in Grafana; present if Grafana is configured.'),
  'Idempotency-Replayed': text('"true" where the answer is that of an earlier call with the same key.', 'true'),
  RateLimit: text(
    'The remaining quota (draft-ietf-httpapi-ratelimit-headers): r requests, and t seconds until the quota resets.',
    '"workspace";r=599;t=42',
  ),
  'RateLimit-Policy': text('The limit: q requests per w seconds.', '"workspace";q=600;w=60'),
  Location: text('The address of the redirect.'),
  Link: text('The next page, as rel="next" (RFC 8288); absent on the last one.', '</things?page_token=abc>; rel="next"'),
  'Retry-After': { description: 'Seconds to wait before a retry.', schema: { type: 'integer', minimum: 1 } },
}
const refer = (...names: string[]) => Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
const every = refer('X-Request-ID', 'X-Trace-Link')
const page = (description: string) => ({ description, headers: every, content: { 'text/html': { schema: { type: 'string' } } } })
/** The responses to a browser. */
const pageResponses = {
  '200': page('A page that states the outcome.'),
  '3XX': { description: 'A redirect.', headers: { ...every, ...refer('Location') } },
  default: page('A page that explains the error, with the id of the request.'),
}
const limits = refer('RateLimit', 'RateLimit-Policy', 'Idempotency-Replayed')

const problemSchema = (reasons: readonly DocumentedReason[]): Schema => ({
  type: 'object',
  properties: {
    type: { type: 'string', format: 'uri-reference', description: 'The explanation of the reason.' },
    title: { type: 'string' },
    status: { type: 'integer', minimum: 400, maximum: 599 },
    detail: { type: 'string', description: 'The error and, if possible, what to do about it.' },
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
  // Facts about the case, such as the run_id of the conflicting run.
  additionalProperties: { type: 'string' },
})
