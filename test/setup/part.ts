import { inject } from 'vitest'

/** The URL of a part of the test run (test/setup/parts.ts), which is started when it does not run yet. */
export async function partUrl(name: 'postgres' | 'redis'): Promise<string> {
  const response = await fetch(`${inject('parts')}/${name}`)
  const answer = await response.text()
  if (!response.ok) throw new Error(`no ${name} for the tests: ${answer}`)
  return answer
}
