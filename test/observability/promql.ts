/** What a PromQL expression names: series with the labels that are asked of them, and the labels that it groups and joins by. */

export interface Selector {
  readonly metric: string
  readonly labels: readonly string[]
}

export interface NamedSelector {
  readonly series: readonly Selector[]
  /** Of by, without, on, ignoring, group_left and group_right. */
  readonly grouping: readonly string[]
}

const token = /"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\[[^\]]*\]|[a-zA-Z_:][\w:]*|\d[\w.]*|=~|!~|!=|[^\s\w]/g
const words = new Set(['and', 'or', 'unless', 'offset', 'bool', 'start', 'end', 'inf', 'nan'])
const groups = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right'])
const isName = (text: string | undefined): text is string => text !== undefined && /^[a-zA-Z_:]/.test(text)

/** It finds names in expressions that are well-formed, which promtool sees to; it does not check them itself. */
export function namedIn(expression: string): NamedSelector {
  const tokens = expression.match(token) ?? []
  const series: Selector[] = []
  const grouping: string[] = []
  for (let at = 0; at < tokens.length; at += 1) {
    const [text, next] = [tokens[at]!, tokens[at + 1]]
    if (!isName(text)) continue
    if (groups.has(text)) {
      if (next !== '(') continue
      for (at += 2; tokens[at] !== ')'; at += 1) if (isName(tokens[at])) grouping.push(tokens[at]!)
      continue
    }
    // A function, an aggregation, an operator in words.
    if (words.has(text.toLowerCase()) || next === '(' || groups.has(next ?? '')) continue
    const labels: string[] = []
    if (next === '{') {
      for (at += 2; tokens[at] !== '}'; at += 1) if (isName(tokens[at])) labels.push(tokens[at]!)
    }
    series.push({ metric: text, labels })
  }
  return { series, grouping }
}
