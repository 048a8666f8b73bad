/**
 * The limits: the content of the limits file, and the rule that applies to a descriptor. The format is that of
 * github.com/envoyproxy/ratelimit ("Configuration" in its README), so one file serves both; unsupported settings are rejected, never
 * ignored.
 *
 *   domain: relay
 *   descriptors:
 *     - key: workspace            # any workspace, each counted separately
 *       rate_limit: { unit: minute, requests_per_unit: 600 }
 *     - key: workspace
 *       value: acme               # this one has its own rule
 *       rate_limit: { unit: minute, requests_per_unit: 6000 }
 *
 * Several domains: several YAML documents, or a list of them.
 */
import { parseAllDocuments } from 'yaml'
import type { Entry } from './window.ts'

export interface Rule {
  /** Hits per window. */
  limit: number
  windowMs: number
}

/** A node in the tree of descriptors. */
interface Node {
  rule?: Rule
  /** Children by key, then by value. */
  exact: Map<string, Map<string, Node>>
  /** Children for any value of their key. */
  any: Map<string, Node>
}

/** 600 per minute for every workspace: the limits if no file is given. */
export const defaultLimits = 'domain: relay\ndescriptors: [{ key: workspace, rate_limit: { unit: minute, requests_per_unit: 600 } }]\n'

const minute = 60_000
const maxPerMinute = 1_000_000_000

export class Limits {
  readonly #domains: ReadonlyMap<string, Node>

  private constructor(domains: ReadonlyMap<string, Node>) {
    this.#domains = domains
  }

  get domains(): readonly string[] {
    return [...this.#domains.keys()]
  }

  /** Reads a limits file. Throws an Error that names the file and the path of the fault. */
  static parse(text: string, file: string): Limits {
    const domains = new Map<string, Node>()
    for (const [place, value] of documents(text, file)) {
      const top = mapping(value, place, ['domain', 'descriptors'])
      const domain = string(top.domain, `${place}.domain`)
      if (domains.has(domain)) throw new Error(`${place}.domain: ${domain} is in the file twice`)
      domains.set(domain, readNode(top.descriptors ?? [], `${place}.descriptors`))
    }
    if (domains.size === 0) throw new Error(`${file}: names no domain`)
    return new Limits(domains)
  }

  /**
   * The rule of a descriptor; undefined if none limits it. For each entry, a rule for its exact value takes precedence over one for any
   * value; a rule applies only if it is as deep as the descriptor.
   */
  ruleOf(domain: string, entries: readonly Entry[]): Rule | undefined {
    let node = this.#domains.get(domain)
    for (const { key, value } of entries) node = node?.exact.get(key)?.get(value) ?? node?.any.get(key)
    return node?.rule
  }
}

/** The domains of a file, each with the path that errors name. */
function documents(text: string, file: string): [place: string, value: unknown][] {
  const parsed = parseAllDocuments(text, { uniqueKeys: true })
  const values = (Array.isArray(parsed) ? parsed : []).flatMap((document) => {
    const problem = document.errors[0] ?? document.warnings[0]
    if (problem !== undefined) throw new Error(`${file}: ${problem.message}`)
    const value: unknown = document.toJS()
    return Array.isArray(value) ? value : value === null ? [] : [value]
  })
  return values.map((value, index) => [values.length === 1 ? `${file}: $` : `${file}: $[${index}]`, value])
}

function readNode(value: unknown, place: string): Node {
  const node: Node = { exact: new Map(), any: new Map() }
  if (!Array.isArray(value)) throw new Error(`${place}: must be a list`)
  value.forEach((each: unknown, index) => readDescriptor(node, each, `${place}[${index}]`))
  return node
}

function readDescriptor(parent: Node, value: unknown, place: string): void {
  const fields = mapping(value, place, ['key', 'value', 'rate_limit', 'descriptors'])
  const key = string(fields.key, `${place}.key`)
  const child = readNode(fields.descriptors ?? [], `${place}.descriptors`)
  child.rule = fields.rate_limit === undefined ? undefined : readRule(fields.rate_limit, `${place}.rate_limit`)
  if (fields.value === undefined) {
    if (parent.any.has(key)) throw new Error(`${place}: ${key} is here twice`)
    parent.any.set(key, child)
    return
  }
  const exact = string(fields.value, `${place}.value`)
  if (exact.endsWith('*')) throw new Error(`${place}.value: a value that ends in * (a prefix) is not supported`)
  const siblings = parent.exact.get(key) ?? new Map<string, Node>()
  if (siblings.has(exact)) throw new Error(`${place}: ${key} with the value ${exact} is here twice`)
  parent.exact.set(key, siblings.set(exact, child))
}

/** Undefined for `unlimited: true`: a rule that keeps the more general one from applying. */
function readRule(value: unknown, place: string): Rule | undefined {
  const fields = mapping(value, place, ['unit', 'requests_per_unit', 'unlimited'])
  if (fields.unlimited !== undefined && typeof fields.unlimited !== 'boolean') throw new Error(`${place}.unlimited: must be true or false`)
  if (fields.unlimited === true) {
    if (fields.unit !== undefined || fields.requests_per_unit !== undefined) throw new Error(`${place}: is unlimited and has a limit`)
    return undefined
  }
  if (typeof fields.unit !== 'string' || fields.unit.toLowerCase() !== 'minute') {
    throw new Error(
      `${place}.unit: must be minute, because windows last one minute: ${JSON.stringify(fields.unit ?? null)} is not supported`,
    )
  }
  const limit = fields.requests_per_unit
  if (typeof limit !== 'number' || !Number.isInteger(limit) || limit < 0 || limit > maxPerMinute) {
    throw new Error(`${place}.requests_per_unit: must be a whole number from 0 to ${maxPerMinute}`)
  }
  return { limit, windowMs: minute }
}

function mapping<const Name extends string>(value: unknown, place: string, names: readonly Name[]): Partial<Record<Name, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${place}: must be a mapping`)
  for (const name of Object.keys(value)) {
    if (!names.some((each) => each === name)) throw new Error(`${place}.${name}: is not supported; supported here: ${names.join(', ')}`)
  }
  return value
}

function string(value: unknown, place: string): string {
  if (typeof value !== 'string' || value === '') throw new Error(`${place}: must be text (in quotes if it looks like another type)`)
  return value
}
