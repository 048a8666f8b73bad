/**
 * The contracts → the table of public routes: every method that has a google.api.http rule and either a permission or, for browsers, an
 * open Page as its response. Pure.
 */
import { type DescField, type DescMessage, type Message, getOption, hasOption } from '@bufbuild/protobuf'
import { type Method, extension } from '#mesh/grpc/descriptors.ts'
import { isPage } from '../pages/page.ts'
import { type PathTemplate, formatPathTemplate, parsePathTemplate } from './path-template.ts'

export interface Route {
  readonly httpMethod: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly template: PathTemplate
  /** The template as text: the name of the route in metrics, logs and documents. */
  readonly endpoint: string
  /** The body fills the whole message, one of its fields, or nothing. */
  readonly body: '*' | DescField | undefined
  readonly method: Method
  /** The permission that a caller needs. Undefined for a Page: a browser that navigates shows no key. */
  readonly permission: string | undefined
  /** The upstream that serves the route: `actions` for relay.actions.v1. */
  readonly upstream: string
}

/** The shape of google.api.HttpRule, as the image's reflection gives it. */
interface HttpRule extends Message {
  pattern: { case: string | undefined; value: unknown }
  body: string
  responseBody: string
  additionalBindings: HttpRule[]
}

const http = extension('google.api.http')
const verbs = { get: 'GET', post: 'POST', put: 'PUT', patch: 'PATCH', delete: 'DELETE' } as const

/** Throws an Error that names the method if its rule cannot be served. */
export function routesOf(methods: Iterable<Method>): Route[] {
  const routes = [...methods].flatMap((method) => {
    if (!hasOption(method.descriptor, http)) return []
    const page = isPage(method.descriptor.output)
    if (method.permission === undefined && !(method.open && page))
      throw new Error(
        `${method.path} has a route and no permission: a method for peers is never public, and an open method must return a Page`,
      )
    if (method.permission !== undefined && page)
      throw new Error(`${method.path} requires a permission and returns a Page: a browser that navigates shows no key`)
    const rule = getOption(method.descriptor, http) as HttpRule
    return [rule, ...rule.additionalBindings].map((each) => routeOf(method, each))
  })
  const seen = new Set<string>()
  for (const { httpMethod, template } of routes) {
    const shape = `${httpMethod} ${formatPathTemplate(template).replaceAll(/\{[^}]*\}/g, '*')}`
    if (seen.has(shape)) throw new Error(`two methods claim ${shape}`)
    seen.add(shape)
  }
  return routes
}

function routeOf(method: Method, rule: HttpRule): Route {
  const fail = (what: string): never => {
    throw new Error(`the route of ${method.path} ${what}`)
  }
  const verb =
    verbs[rule.pattern.case as keyof typeof verbs] ?? fail(`has the pattern ${String(rule.pattern.case)}, which is not supported`)
  if (rule.responseBody !== '') fail('has a response_body, which is not supported')
  if (method.permission === undefined && verb !== 'GET' && !(verb === 'POST' && rule.body === '*'))
    fail(`returns a Page for ${verb}, but browsers navigate by GET, or by POST with a form as the whole body`)
  const template = parsePathTemplate(rule.pattern.value as string)
  const { input } = method.descriptor
  for (const segment of template.segments) {
    if (segment.kind === 'literal' || segment.field === undefined) continue
    const field = fieldAt(input, segment.field)
    if (field === undefined || field.fieldKind !== 'scalar')
      fail(`binds ${segment.field.join('.')}, which is not a scalar field of ${input.typeName}`)
  }
  if (rule.body !== '' && (verb === 'GET' || verb === 'DELETE')) fail(`has a body, which ${verb} does not carry`)
  return {
    httpMethod: verb,
    template,
    endpoint: formatPathTemplate(template),
    body: bodyOf(input, rule.body, fail),
    method,
    permission: method.permission,
    upstream: /^relay\.([a-z0-9]+)\.v\d+\./.exec(method.service)?.[1] ?? fail('is not in a package like relay.<name>.v1'),
  }
}

function bodyOf(input: DescMessage, body: string, fail: (what: string) => never): Route['body'] {
  if (body === '') return undefined
  if (body === '*') return '*'
  const field = input.fields.find(({ name }) => name === body)
  if (field?.fieldKind !== 'message') return fail(`has the body ${JSON.stringify(body)}, which is not a message field of ${input.typeName}`)
  return field
}

/** The field at a path of proto names. */
export function fieldAt(message: DescMessage, path: readonly string[]): DescField | undefined {
  let found: DescField | undefined
  let within: DescMessage | undefined = message
  for (const name of path) {
    found = within?.fields.find((field) => field.name === name)
    within = found?.fieldKind === 'message' ? found.message : undefined
  }
  return found
}
