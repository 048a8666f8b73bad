/**
 * `node deploy/audit-dependencies.ts`: asks the registry for advisories about the packages that processes run with, and fails if one is of
 * high severity or worse. If the registry does not answer, it says so and passes: whether a commit is good does not depend on a network.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'

const failing = ['high', 'critical']
const timeoutMs = 120_000

interface Report {
  vulnerabilities?: Record<string, { name: string; severity: string; range: string; fixAvailable: unknown }>
  message?: string
  error?: { summary?: string }
}

/** What npm prints: a report, or an object that says why there is none. Its exit code does not tell these apart. */
function audit(): Promise<Report> {
  return new Promise((resolve) => {
    const options = { cwd: join(import.meta.dirname, '..'), timeout: timeoutMs, maxBuffer: 1 << 26 }
    execFile('npm', ['audit', '--omit=dev', '--json'], options, (error, stdout) => {
      try {
        resolve(JSON.parse(stdout) as Report)
      } catch {
        resolve({ message: error?.killed === true ? `no answer in ${timeoutMs / 1000} s` : (error?.message ?? 'npm printed no report') })
      }
    })
  })
}

const { vulnerabilities, message, error } = await audit()
if (vulnerabilities === undefined) {
  console.warn(`The dependencies were NOT audited: ${message ?? error?.summary ?? 'the registry gave no report'}`)
} else {
  const found = Object.values(vulnerabilities)
  for (const { name, severity, range, fixAvailable } of found) {
    console.warn(`${severity}: ${name} ${range} (${fixAvailable === false ? 'no fix yet' : 'a fix is available'})`)
  }
  const bad = found.filter(({ severity }) => failing.includes(severity))
  console.log(`npm audit: ${found.length} vulnerable packages at run time, ${bad.length} of them of ${failing.join(' or ')} severity`)
  if (bad.length > 0) process.exitCode = 1
}
