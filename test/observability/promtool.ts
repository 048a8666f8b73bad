/** Prometheus's own checker, where there is one: a test of rules without it would be a test of our idea of PromQL. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { needs, pathOf } from '../setup/needs.ts'
import { full } from '../setup/seed.ts'

/** The long run does not do without it: there the tests fail that need it. */
export const promtoolNeeds = full ? {} : { ...needs('promtool'), timeout: 120_000 }

/** What it says when all is well. Throws with what it says otherwise. */
export async function promtool(...args: string[]): Promise<string> {
  if (pathOf('promtool') === undefined)
    throw new Error('promtool is not on PATH: run deploy/local/promtool.sh, or apt-get install prometheus')
  try {
    const { stdout } = await promisify(execFile)('promtool', args, { maxBuffer: 10_000_000 })
    return stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`promtool ${args.join(' ')}\n${stdout}${stderr}`, { cause: error })
  }
}
