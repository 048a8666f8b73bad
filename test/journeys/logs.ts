/** What the processes of a mesh have logged. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

export interface LogLine extends Record<string, unknown> {
  service: string
  msg: string
  /** As it was written. */
  written: string
}

/** Every line of every process so far. What is no line of ours (a warning of Node's) is left out. */
export function logLines(folder: string): LogLine[] {
  const logs = join(folder, 'logs')
  return readdirSync(logs).flatMap((file) =>
    readFileSync(join(logs, file), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((written) => ({ ...(JSON.parse(written) as Omit<LogLine, 'written'>), written }) as LogLine),
  )
}
