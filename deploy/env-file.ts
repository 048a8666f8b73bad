/** The variables of processes as the text of a dotenv file, for `.env.example`. */
import type { Spec, Variable } from '#mesh/config.ts'

/** A process or program, e.g. `actions`, and the variables that it reads. */
export interface Reader {
  readonly name: string
  readonly variables: Spec
}

export interface EnvFileParts {
  /** Long-running processes. Variables that all of them read appear once, at the beginning. */
  readonly processes: readonly Reader[]
  /** Operator programs. Variables that their service reads in the same words are not repeated. */
  readonly programs: readonly (Reader & { readonly besideProcess?: string })[]
}

// oxlint-disable-next-line typescript/no-explicit-any -- as in a Spec: variables of whatever type
type Described = Variable<any>

const maxColumns = 120

const sameAs =
  (one: Described) =>
  (other: Described): boolean =>
    one.name === other.name && one.doc === other.doc && one.fallback === other.fallback

function commentOf(text: string): string {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > maxColumns) lines.push(`# ${word}`)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines.join('\n')
}

/** A required variable is an empty assignment, to be filled in; any other one is commented out and shows its default, secrets excepted. */
function entryOf(variable: Described): string {
  const { name, doc, fallback, secret } = variable
  const kind = secret === true ? `secret, ${variable.default === undefined ? fallback : 'has a default'}` : fallback
  const value = secret === true ? '' : (variable.default ?? '')
  return `${commentOf(`${doc} (${kind})`)}\n${fallback === 'required' ? '' : '#'}${name}=${value}`
}

const sectionOf = (title: string, variables: readonly Described[]): string => [`### ${title}`, ...variables.map(entryOf)].join('\n\n')

export function envFile({ processes, programs }: EnvFileParts): string {
  const variablesOf = ({ variables }: Reader): Described[] => Object.values(variables)
  const [first, ...others] = processes.map(variablesOf)
  const common = (first ?? []).filter((each) => others.every((variables) => variables.some(sameAs(each))))
  const without = (variables: readonly Described[], known: readonly Described[]) => variables.filter((each) => !known.some(sameAs(each)))
  const own = processes.map((process) => ({ name: process.name, variables: without(variablesOf(process), common) }))
  const programSections = programs.flatMap(({ name, variables, besideProcess }) => {
    const process = processes.find((each) => each.name === besideProcess)
    const known = process === undefined ? [] : variablesOf(process)
    const further = without(Object.values(variables), known)
    const title = besideProcess === undefined ? name : `${name}, beside the variables of ${besideProcess}`
    return further.length === 0 ? [] : [sectionOf(title, further)]
  })
  return `${[
    '# The environment variables of every process of Relay. `make generate` writes this file from the code.',
    '# A process reads its own section and the first one. The same name may have another value for each process:',
    '# keep one file per process, and start it with `node --env-file=<file> services/<name>/main.ts`.',
    '# Lines that begin with # show the default. An empty variable counts as unset.',
  ].join('\n')}\n\n${[
    sectionOf('every process', common),
    ...own.map(({ name, variables }) => sectionOf(name, variables)),
    ...programSections,
  ].join('\n\n')}\n`
}
