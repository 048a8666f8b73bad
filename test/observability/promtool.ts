/** Prometheus's own checker, where there is one: a test of rules without it would be a test of our idea of PromQL. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { full } from '../setup/seed.ts'

const found = (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'promtool')))

/** Whether tests that need it run. The long run does not do without. */
export const hasPromtool = found || full

/** What it says when all is well. Throws with what it says otherwise. */
export async function promtool(...args: string[]): Promise<string> {
  if (!found) throw new Error('promtool is not on PATH: run deploy/local/promtool.sh, or apt-get install prometheus')
  try {
    const { stdout } = await promisify(execFile)('promtool', args, { maxBuffer: 10_000_000 })
    return stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`promtool ${args.join(' ')}\n${stdout}${stderr}`, { cause: error })
  }
}
