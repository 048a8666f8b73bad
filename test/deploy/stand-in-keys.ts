/** Stands in for the program of access that makes keys: it prints one, and notes what it was asked for. */
import { randomBytes } from 'node:crypto'
import { appendFileSync } from 'node:fs'

const { env } = process
if (env.STAND_IN_KEYS !== undefined) appendFileSync(env.STAND_IN_KEYS, `${JSON.stringify({ args: process.argv.slice(2), env })}\n`)
if (env.STAND_IN_KEYLESS !== undefined) {
  console.error('the stand-in makes no keys')
  process.exit(1)
}
console.log(`rly_local_${randomBytes(18).toString('hex')}`)
