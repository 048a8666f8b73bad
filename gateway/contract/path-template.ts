/**
 * Path templates of google.api.http (https://github.com/googleapis/googleapis/blob/master/google/api/http.proto):
 *
 *   /actions/runs/{run_id}    a variable of one segment, the same as {run_id=*}
 *   /files/{name=**}          the rest of the path, only at the end
 *   /runs/*:cancel            an unnamed segment, and a verb
 *
 * Patterns of several segments inside a variable ({name=shelves/*}) are not supported; such a template stops the process at its start.
 */

export type Segment =
  | { readonly kind: 'literal'; readonly text: string }
  /** `field` is the path of a field; undefined for a segment that is matched and not used. */
  | { readonly kind: 'one' | 'rest'; readonly field: readonly string[] | undefined }

export interface PathTemplate {
  readonly segments: readonly Segment[]
  readonly verb: string | undefined
}

/** What Fastify's router needs: its path, and the parameter that fills each field. */
export interface RouterPath {
  readonly path: string
  readonly variables: readonly { readonly field: readonly string[]; readonly parameter: string }[]
}

/** Characters that a URL may hold unescaped, without `:` and `*`, which have a meaning here and in the router. */
const literalText = /^[A-Za-z0-9._~!$&'()+,;=@-]+$/
const identifier = /^[a-z][a-z0-9_]*$/

/** Throws an Error that quotes the template and says what is wrong with it. */
export function parsePathTemplate(template: string): PathTemplate {
  const fail = (what: string): never => {
    throw new Error(`the path template ${JSON.stringify(template)} ${what}`)
  }
  if (!template.startsWith('/')) fail('does not begin with a slash')
  // The verb follows the last colon after the last slash, outside of any variable.
  const verbAt = /:[^/:{}]*$/.exec(template)?.index
  const verb = verbAt === undefined ? undefined : template.slice(verbAt + 1)
  if (verb !== undefined && !literalText.test(verb)) fail('has a verb that is empty or holds characters a URL would escape')
  const path = template.slice(1, verbAt)
  const segments: Segment[] = path === '' && verb === undefined ? [] : splitSegments(path).map((text) => parseSegment(text, fail))
  segments.forEach((segment, index) => {
    if (segment.kind === 'rest' && (index < segments.length - 1 || verb !== undefined)) fail('has ** before its end')
  })
  const names = segments.flatMap((segment) => (segment.kind === 'literal' || segment.field === undefined ? [] : [segment.field.join('.')]))
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) fail(`names ${twice} twice`)
  return { segments, verb }
}

/** Splits at slashes outside of braces. */
function splitSegments(path: string): string[] {
  return path.split(/\/(?![^{}]*\})/)
}

function parseSegment(text: string, fail: (what: string) => never): Segment {
  if (text === '') return fail('has an empty segment')
  if (text === '.' || text === '..') return fail('has a dot segment, which no URL keeps')
  if (text === '*') return { kind: 'one', field: undefined }
  if (text === '**') return { kind: 'rest', field: undefined }
  if (!/[{}*]/.test(text)) {
    return literalText.test(text)
      ? { kind: 'literal', text }
      : fail(`has the segment ${JSON.stringify(text)}, with characters a URL would escape`)
  }
  const variable = /^\{([^{}=]*)(?:=([^{}]*))?\}$/.exec(text)
  if (variable === null) return fail(`has the segment ${JSON.stringify(text)}, which is neither a literal nor one variable`)
  const [, name, pattern = '*'] = variable
  const field = name!.split('.')
  if (!field.every((part) => identifier.test(part))) return fail(`has a variable named ${JSON.stringify(name)}, which is not a field path`)
  if (pattern === '*') return { kind: 'one', field }
  if (pattern === '**') return { kind: 'rest', field }
  return fail(`has the pattern ${JSON.stringify(pattern)}: only * and ** are supported inside a variable`)
}

/**
 * The same template in the syntax of Fastify's router. Parameters are numbered, because field paths have dots, at which the router splits.
 */
export function toRouterPath(template: PathTemplate): RouterPath {
  const variables: { field: readonly string[]; parameter: string }[] = []
  const last = template.segments.length - 1
  const parts = template.segments.map((segment, index) => {
    if (segment.kind === 'literal') return segment.text
    const parameter = segment.kind === 'rest' ? '*' : `p${index}`
    if (segment.field !== undefined) variables.push({ field: segment.field, parameter })
    if (segment.kind === 'rest') return '*'
    // Before a verb the router needs a pattern that says where the parameter ends.
    return template.verb !== undefined && index === last ? `:${parameter}(.+)` : `:${parameter}`
  })
  return { path: `/${parts.join('/')}${template.verb === undefined ? '' : `::${template.verb}`}`, variables }
}

/** Matches the raw path, before anything in it is decoded, if it is meant for the template. */
export function rawPattern({ segments, verb }: PathTemplate): RegExp {
  const exactly = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  const parts = segments.map((segment) => (segment.kind === 'literal' ? exactly(segment.text) : segment.kind === 'one' ? '[^/]+' : '.+'))
  return new RegExp(`^/${parts.join('/')}${verb === undefined ? '' : `:${exactly(verb)}`}$`)
}

/** The template as documents and metrics name it: `/actions/runs/{run_id}`. */
export function formatPathTemplate({ segments, verb }: PathTemplate): string {
  const parts = segments.map((segment) => {
    if (segment.kind === 'literal') return segment.text
    const pattern = segment.kind === 'rest' ? '**' : '*'
    if (segment.field === undefined) return pattern
    return `{${segment.field.join('.')}${segment.kind === 'rest' ? '=**' : ''}}`
  })
  return `/${parts.join('/')}${verb === undefined ? '' : `:${verb}`}`
}
