/** The variables of the ratelimit service. */
import { readFileSync } from 'node:fs'
import { type Variable, duration, optional, url } from '#mesh/config.ts'
import { accessVariables, identityVariables } from '#mesh/identity/variables.ts'
import { grpcVariables, redisSchemes } from '#mesh/variables.ts'
import { Limits, defaultLimits } from './limits.ts'

/** An invalid file stops the start, like any other variable. */
const limits: Variable<Limits> = {
  name: 'RATELIMIT_FILE',
  doc: 'File with the limits, in the format of envoyproxy/ratelimit',
  fallback: 'default 600 per minute per workspace',
  parse: (file) => (file === undefined ? Limits.parse(defaultLimits, 'built in') : Limits.parse(readFileSync(file, 'utf8'), file)),
}

export const variables = {
  ...grpcVariables,
  ...identityVariables,
  ...accessVariables,
  redisUrl: optional(
    url('REDIS_URL', 'URL of the Redis in which all replicas count; without it each replica counts separately', redisSchemes),
  ),
  limits,
  redisLimitMs: duration('RATELIMIT_REDIS_TIMEOUT', 'Timeout of Redis, after which a decision is made without it', { default: '40ms' }),
}
