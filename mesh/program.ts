/**
 * An operator program beside a service: a table of commands, one of which runs to its end.
 *
 *   const rotate = command({
 *     doc: 'Encrypts …',
 *     options: { check: { type: 'boolean', doc: 'changes nothing' } },
 *     run: async ({ check = false }) => 0,
 *   })
 *   await runProgram({ name: 'relay-oauth', variables, commands: { rotate } })
 *
 * Results go to stdout, progress and errors to stderr. Exit codes: the command's own (0 done); 1 failed, unless the program defines
 * another; 2 usage error; 78 invalid configuration (EX_CONFIG of sysexits.h). A reader that closes the pipe early, such as `head`, is not
 * an error.
 */
import { type ParseArgsOptionDescriptor, parseArgs } from 'node:util'
import { ConfigError, type Secret, type Spec, describeConfig, readConfig } from './config.ts'
import { MeshError } from './errors.ts'
import { plaintextProblems } from './plaintext.ts'
import { Database } from './postgres/database.ts'
import { createLogger } from './telemetry/log.ts'
import { processVariables } from './variables.ts'

export interface Option extends ParseArgsOptionDescriptor {
  /** The placeholder of its value in the help, e.g. "<time>". */
  value?: string
  doc: string
}

type Options = Readonly<Record<string, Option>>
type Values<O extends Options> = ReturnType<typeof parseArgs<{ options: O }>>['values']

export interface Command {
  readonly doc: string
  readonly options: Options
  /** Resolves to the exit code; throws UsageError for wrong usage. */
  run(args: string[]): Promise<number>
}

/** Wrong usage of the command line. */
export class UsageError extends Error {}

interface DeclaredProgram<O extends Options> {
  doc: string
  options: O
  /** Runs as a Command does, with the parsed options. */
  run: (values: Values<O>) => Promise<number>
}

/** A command whose options are parsed by their declaration; anything else is a usage error. */
export function command<const O extends Options>({ doc, options, run }: DeclaredProgram<O>): Command {
  return { doc, options, run: (args) => run(parseArgs({ args, options }).values) }
}

const codes = { 0: 'done', 1: 'failed', 2: 'not understood', 78: 'the configuration is not usable' }

/** Postgres's objections, in words that an operator can act on. */
const messages = {
  unavailable: 'Postgres does not answer at DATABASE_URL',
  notLetIn: 'Postgres does not let the role of DATABASE_URL in',
  noTables: 'The database at DATABASE_URL has no tables yet: start the service once',
  forbidden: 'The role of DATABASE_URL may not do that',
}

export interface Program {
  /** As on the command line. */
  name: string
  variables: Spec
  commands: Readonly<Record<string, Command>>
  /** Paragraphs for --help, after the commands. */
  about?: string
  /** The meaning of its exit codes, if unusual. */
  codes?: Partial<typeof codes>
  /** The exit code of a failure; 1 if unset. For a program whose 1 is a finding, like that of grep. */
  failed?: 1 | 2
  /** Its own sentences, where they help more than the usual ones. */
  messages?: Partial<typeof messages>
}

/** Runs the command of the command line. Sets the exit code, and lets pending output finish. */
export async function runProgram(program: Program): Promise<void> {
  const [name, ...args] = process.argv.slice(2)
  // A closed pipe is not a failure.
  process.stdout.on('error', (error) => {
    if (!isHungUp(error)) throw error
  })
  if (name === undefined || process.argv.includes('--help')) {
    const [say, code] = name === undefined ? [console.error, 2] : [console.log, 0]
    say(helpOf(program))
    process.exitCode = code
    return
  }
  try {
    if (!Object.hasOwn(program.commands, name)) throw new UsageError(`There is no command ${JSON.stringify(name.slice(0, 50))}`)
    requireEncrypted(program.variables)
    process.exitCode = await program.commands[name]!.run(args)
  } catch (error) {
    if (isHungUp(error)) return
    const { code, message } = failureOf(error, program)
    console.error(`${program.name}: ${message}`)
    process.exitCode = code
  }
}

/**
 * Applies the rule of the processes (mesh/serve.ts) to operator programs: in production, no unencrypted connection to another machine.
 * Throws ConfigError. The command that reads a variable reports its other problems.
 */
function requireEncrypted(variables: Spec): void {
  const { environment, networkEncrypted } = processVariables
  const read = (variable: Spec[string]): unknown => {
    try {
      return readConfig({ value: variable }).value
    } catch {
      return undefined
    }
  }
  const values = Object.entries(variables).map(([key, variable]) => [key, read(variable)] as const)
  const transport = { environment: String(read(environment)), networkEncrypted: read(networkEncrypted) === true }
  const problems = plaintextProblems(variables, { ...Object.fromEntries(values), ...transport })
  if (problems.length > 0) throw new ConfigError(problems.join('\n'))
}

/** One connection, closed at the end of the work however it ends. `statementMs` as in Database. */
export async function withDatabase<T>(
  { name, url, statementMs }: { name: string; url: Secret; statementMs?: number },
  work: (database: Database) => Promise<T>,
): Promise<T> {
  const log = createLogger(name, 'warn', process.stderr)
  const database = new Database({ url, log, connections: 1, ...(statementMs !== undefined && { statementMs }) })
  try {
    return await work(database)
  } finally {
    await database.close()
  }
}

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '')
const isHungUp = (error: unknown): boolean => codeOf(error) === 'EPIPE'

/** The message of an error for a person, and the exit code. */
function failureOf(error: unknown, program: Program): { code: number; message: string } {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof UsageError || codeOf(error).startsWith('ERR_PARSE_ARGS')) {
    return { code: 2, message: `${message}\n${program.name} --help shows the usage.` }
  }
  if (error instanceof ConfigError) return { code: 78, message }
  const violations = error instanceof MeshError ? error.violations.map(({ field, description }) => `\n  ${field} ${description}`) : []
  return { code: program.failed ?? 1, message: refusalOf(error, { ...messages, ...program.messages }) ?? message + violations.join('') }
}

/** By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html); undefined for other errors. */
function refusalOf(error: unknown, said: typeof messages): string | undefined {
  if (error instanceof MeshError) return error.reason === 'DEPENDENCY_UNAVAILABLE' ? said.unavailable : undefined
  const state = codeOf(error)
  // undefined_table, insufficient_privilege, invalid_password and similar, invalid_catalog_name.
  if (state === '42P01') return said.noTables
  if (state === '42501') return said.forbidden
  return state.startsWith('28') || state === '3D000' ? said.notLetIn : undefined
}

function helpOf({ name, commands, variables, about, codes: own }: Program): string {
  const optionLine = ([option, { value, doc }]: [string, Option]) => `    ${`--${option} ${value ?? ''}`.trimEnd().padEnd(26)}${doc}`
  const table = Object.entries(commands).flatMap(([each, { doc, options }]) => [
    `  ${each.padEnd(20)}${doc}`,
    ...Object.entries(options).map(optionLine),
  ])
  const ends = Object.entries({ ...codes, ...own }).map(([code, meaning]) => `${code} ${meaning}`)
  return [
    `Usage: ${name} <command> [options]`,
    table.join('\n'),
    ...(about === undefined ? [] : [about]),
    `Exit codes: ${ends.join('; ')}.`,
    'It is configured by environment variables:',
    `${describeConfig(variables)}\n`,
  ].join('\n\n')
}
