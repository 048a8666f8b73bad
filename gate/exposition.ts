/**
 * Parses /metrics into series. Pure. Reads the text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/) and, where
 * it differs, OpenMetrics 1.0; exemplars are ignored.
 */

export interface Series {
  name: string
  labels: Readonly<Record<string, string>>
  value: number
}

export class ExpositionError extends Error {
  override readonly name = 'ExpositionError'
}

const metricName = /[a-zA-Z_:][a-zA-Z0-9_:]*/y
const label = /\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|(?=\}))/y
const endOfLabels = /\s*\}/y
// A value, perhaps a time, perhaps an exemplar; the latter two are ignored.
const tail = /[ \t]+(\S+)(?:[ \t]+-?[0-9.eE+]+)?[ \t]*(?:# \{.*)?$/y

const unescaped = (text: string): string => text.replace(/\\(.)/g, (_, next: string) => (next === 'n' ? '\n' : next))

function valueOf(text: string): number | undefined {
  const special: Record<string, number> = { '+Inf': Infinity, Inf: Infinity, '-Inf': -Infinity, NaN: Number.NaN, Nan: Number.NaN }
  if (Object.hasOwn(special, text)) return special[text]
  return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined
}

function parseLine(line: string): Series | undefined {
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(line)
    if (match !== null) at = pattern.lastIndex
    return match
  }
  const name = take(metricName)?.[0]
  if (name === undefined) return undefined
  const labels: [string, string][] = []
  if (line[at] === '{') {
    at += 1
    for (let found = take(label); found !== null; found = take(label)) labels.push([found[1]!, unescaped(found[2]!)])
    if (take(endOfLabels) === null || new Set(labels.map(([key]) => key)).size < labels.length) return undefined
  }
  const value = valueOf(take(tail)?.[1] ?? '')
  return value === undefined ? undefined : { name, labels: Object.fromEntries(labels), value }
}

/** Throws an ExpositionError that names the first line that cannot be read: partial metrics could make a process look better. */
export function parseExposition(text: string): Series[] {
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '' || line.startsWith('#')) return []
    const series = parseLine(line.trimEnd())
    if (series !== undefined) return [series]
    throw new ExpositionError(`line ${index + 1} of the metrics cannot be read: ${JSON.stringify(line.slice(0, 100))}`)
  })
}
