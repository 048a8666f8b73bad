/**
 * The page at /docs, made from the OpenAPI document: one file that loads nothing. Its one script (try-it.js) adds forms that send calls to
 * this gateway.
 */
import { readFileSync } from 'node:fs'
import { type Html, html, nothing } from '#mesh/html.ts'
import { contentPolicy } from '../pages/content-policy.ts'
import type { Schema } from './json-schema.ts'
import type { OpenApi, Operation, Parameter } from './openapi.ts'
import type { DocumentedReason } from './reasons.ts'

export interface Page {
  html: string
  /** Allows this page's own style, its own script, and requests to its own origin. */
  contentSecurityPolicy: string
}

const style = `
:root { color-scheme: light dark }
:root { --line: color-mix(in srgb, currentColor 18%, transparent); --soft: color-mix(in srgb, currentColor 6%, transparent) }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 56rem; margin: 0 auto; padding: 2rem 1.25rem 6rem }
h1 { margin-bottom: .25rem } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem } h3 { margin-top: 2.5rem }
code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; border-radius: .4rem }
table { border-collapse: collapse; width: 100%; margin: .8rem 0 }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line) }
form { display: grid; gap: .6rem; background: var(--soft); padding: .8rem 1rem; border-radius: .4rem } label { display: grid; gap: .2rem }
input, textarea { font: 14px/1.5 ui-monospace, monospace; padding: .3rem .5rem } button { justify-self: start; padding: .3rem .9rem }
.method { font-weight: 700 } nav ul { list-style: none; padding: 0 } tr:target { background: var(--soft) }
`

const script = readFileSync(new URL('./try-it.js', import.meta.url), 'utf8')

export function docsPage(document: OpenApi, documented: readonly DocumentedReason[]): Page {
  // A reason that two services share has one meaning.
  const reasons = documented.filter(({ reason }, index) => documented.findIndex((each) => each.reason === reason) === index)
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  )
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${document.info.title}</title>
<style>${{ html: style }}</style>
</head>
<body>
<h1>${document.info.title}</h1>
<p>${document.info.description}</p>
<p>Version ${document.info.version}. The same as data: <a href="/openapi.json">/openapi.json</a>.</p>
<nav><ul>${operations.map(
    ({ path, method, operation }) => html`
<li><a href="#${operation.operationId}"><code><span class="method">${method}</span> ${path}</code></a> ${operation.summary}</li>`,
  )}
<li><a href="#reasons">Why a request is refused</a></li>
</ul></nav>
<h2>Calling</h2>
<p>Every call of a program shows an API key, as <code>Authorization: Bearer …</code>. Bodies are JSON in UTF-8; what is not in the tables
below is refused.
Every answer has an <code>X-Request-ID</code>; with it, what happened can be found in the logs. The examples need two variables:</p>
<pre>export RELAY=https://… RELAY_KEY=…</pre>
<div id="try" hidden>
<p>A call can also be tried on this page. It is sent to this gateway, and what it does is real. The key stays in this field.</p>
<label>API key <input id="key" type="password" autocomplete="off" spellcheck="false"></label>
</div>
<h2>Calls</h2>
${operations.map(({ path, method, operation }) => section(document, path, method, operation))}
<h2 id="reasons">Why a request is refused</h2>
<p>A call that did nothing is answered with a problem document (RFC 9457, <code>application/problem+json</code>).
Its <code>reason</code> is one of these.</p>
<table><thead><tr><th>Reason</th><th>Status</th><th>Meaning</th></tr></thead><tbody>${reasons.map(
    ({ reason, status, meaning }) => html`
<tr id="${reason}"><td><code>${reason}</code></td><td>${status}</td><td>${meaning}</td></tr>`,
  )}
</tbody></table>
<script type="module">${{ html: script }}</script>
</body>
</html>
`
  return {
    html: page.html,
    contentSecurityPolicy: contentPolicy(style, { script }),
  }
}

function section(document: OpenApi, path: string, method: string, operation: Operation): Html {
  const body = Object.values(operation.requestBody?.content ?? {})[0]?.schema
  const ok = operation.responses['200'] as { content: Record<string, { schema: Schema }> }
  const response = ok.content['application/json']?.schema
  return html`<h3 id="${operation.operationId}"><code><span class="method">${method}</span> ${path}</code></h3>
<p>${operation.description}</p>
<p>${
    operation['x-relay-permission'] === undefined
      ? 'For browsers, which navigate here without a key. The response is a page or a redirect.'
      : html`Needs the permission <code>${operation['x-relay-permission']}</code>.`
  }</p>
${
  operation.parameters.length === 0
    ? nothing
    : table(
        'Parameter',
        operation.parameters.map((each) => [`${each.name} (${each.in})`, { ...each.schema, description: each.description }, each.required]),
      )
}
${body === undefined ? nothing : html`<p>Body:</p>${fields(document, body)}`}
${
  operation['x-relay-permission'] === undefined
    ? nothing
    : html`<pre>${curl(document, path, method, operation.parameters, body)}</pre>
<div data-call="${call(document, path, method, operation.parameters, body)}"></div>
<p>Answer:</p>
${response === undefined ? html`<p>Not JSON: the raw bytes, with their own Content-Type.</p>` : fields(document, response)}`
}
`
}

type Row = readonly [name: string, schema: Schema, required: boolean]

function table(title: string, rows: readonly Row[]): Html {
  return html`<table><thead><tr><th>${title}</th><th>Type</th><th></th></tr></thead><tbody>${rows.map(
    ([name, schema, required]) => html`
<tr><td><code>${name}</code></td><td>${typeName(schema)}${required ? '' : ', optional'}</td><td>${textOf(schema.description)}</td></tr>`,
  )}
</tbody></table>`
}

/** The fields of a schema and of those within it, by path. */
function fields(document: OpenApi, schema: Schema): Html {
  return table('Field', rowsOf(document, schema, '', new Set()))
}

function rowsOf(document: OpenApi, schema: Schema, prefix: string, within: ReadonlySet<Schema>): Row[] {
  const object = resolve(document, schema)
  if (within.has(object)) return []
  const properties = (object.properties ?? {}) as Record<string, Schema>
  const required = (object.required ?? []) as string[]
  return Object.entries(properties).flatMap(([name, property]): Row[] => {
    const inner = (property.items ?? property) as Schema
    const path = `${prefix}${name}${property.type === 'array' ? '[]' : ''}`
    return [[path, property, required.includes(name)], ...rowsOf(document, inner, `${path}.`, new Set([...within, object]))]
  })
}

/** Resolves a reference to its component; of "this or null", returns this. */
function resolve(document: OpenApi, schema: Schema): Schema {
  const either = schema.oneOf as Schema[] | undefined
  if (either !== undefined) return resolve(document, either[0]!)
  const name = typeof schema.$ref === 'string' ? schema.$ref.split('/').at(-1)! : undefined
  return name === undefined ? schema : document.components.schemas[name]!
}

function typeName(schema: Schema): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  if (Array.isArray(schema.oneOf)) return (schema.oneOf as Schema[]).map(typeName).join(' or ')
  if (Array.isArray(schema.type)) return schema.type.join(' or ')
  if (typeof schema.$ref === 'string') return 'object'
  if (schema.type === 'array') return `list of ${typeName(schema.items as Schema)}`
  const type = textOf(schema.type) || 'any'
  return typeof schema.format === 'string' ? `${type} (${schema.format})` : type
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

function curl(document: OpenApi, path: string, method: string, parameters: readonly Parameter[], body: Schema | undefined): string {
  const headers = parameters.filter((each) => each.in === 'header').map(({ name }) => `-H '${name}: <${name.toLowerCase()}>'`)
  const lines = [
    `curl ${method === 'GET' ? '' : `-X ${method} `}"$RELAY${path.replaceAll(/\{([^}]*)\}/g, '<$1>')}"`,
    `-H "Authorization: Bearer $RELAY_KEY"`,
    ...headers,
    ...(body === undefined ? [] : [`-H 'Content-Type: application/json'`, `-d '${JSON.stringify(example(document, body, ''))}'`]),
  ]
  return lines.join(' \\\n  ')
}

/** An example value of a schema, with <names> as placeholders. */
function example(document: OpenApi, schema: Schema, name: string): unknown {
  const resolved = resolve(document, schema)
  const properties = resolved.properties as Record<string, Schema> | undefined
  if (properties !== undefined)
    return Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, example(document, value, key)]))
  if (resolved.type === 'array') return [example(document, resolved.items as Schema, name)]
  if (resolved.type === 'object') return {}
  if (resolved.type === 'boolean') return false
  return resolved.type === 'string' ? `<${name}>` : 0
}

/** A call as try-it.js reads it. */
const call = (document: OpenApi, path: string, method: string, parameters: readonly Parameter[], body: Schema | undefined): string =>
  JSON.stringify({
    method,
    path,
    parameters: parameters.map((each) => ({ name: each.name, in: each.in, required: each.required })),
    body: body && example(document, body, ''),
  })
