/** A trace as text: a line a span, below its parent, in the order in which they started. What differs from run to run is named instead. */
import type { AttributeValue, Link } from '../fakes/otlp-trace.ts'
import type { SpanNode } from '../fakes/otlp-receiver.ts'

/** By a value that differs from run to run (an id, a port): what it is. */
export type Names = ReadonlyMap<string, string>

/** Databases are called after their journey. */
const journeys = /(?<=^|\/)journey_[0-9a-f]{8}_/

export function textOf(roots: readonly SpanNode[], names: Names): string {
  return roots.map((root) => linesOf(root, names, '')).join('')
}

function linesOf({ service, kind, name, status, attributes, links, children }: SpanNode, names: Names, indent: string): string {
  const pairs = Object.keys(attributes)
    .sort()
    .map((each) => `${each}=${valueOf(attributes[each]!, names)}`)
  const failed = status.code === 'UNSET' ? '' : ` ${status.code}`
  const linked = links.map((link) => ` → ${nameOf(link, names)}`).join('')
  const line = `${indent}${service} ${kind} ${name}${failed}${linked} {${pairs.join(' ')}}\n`
  return line + children.map((child) => linesOf(child, names, `${indent}  `)).join('')
}

const nameOf = ({ traceId, spanId }: Link, names: Names): string => names.get(spanId) ?? names.get(traceId) ?? `${traceId}/${spanId}`

/** Text that could be taken for another type is quoted. */
function valueOf(value: AttributeValue, names: Names): string {
  if (typeof value === 'string') {
    const known = names.get(value) ?? value.replace(journeys, '')
    return /^(?:[\d.-]+|true|false|.*[\s"={}].*|)$/.test(known) ? JSON.stringify(known) : known
  }
  if (typeof value === 'boolean') return String(value)
  if (value !== null && 'int' in value && typeof value.int === 'bigint') return names.get(String(value.int)) ?? String(value.int)
  throw new Error(`no attribute of ours is ${JSON.stringify(value)}`)
}

/** Every span of the trees. */
export const flat = (roots: readonly SpanNode[]): SpanNode[] => roots.flatMap((root) => [root, ...flat(root.children)])

/** The trees without the spans of a name and those below them. */
export const without = (roots: readonly SpanNode[], name: string): SpanNode[] =>
  roots.filter((node) => node.name !== name).map((node) => ({ ...node, children: without(node.children, name) }))
