/** The variables of the ratelimit service. */
import { readFileSync } from 'node:fs'
import { type Variable, duration, optional, url } from '#mesh/config.ts'
import { accessVariables, identityVariables } from '#mesh/identity/variables.ts'
import { grpcVariables, redisSchemes } from '#mesh/variables.ts'
import { Limits, defaultLimits } from './limits.ts'

/** A file that is not understood stops the start, like any other variable. */
const limits: Variable<Limits> = {
  name: 'RATELIMIT_FILE',
  doc: 'The limits, in the format of envoyproxy/ratelimit',
  fallback: 'default 600 a minute for each workspace',
  parse: (file) => (file === undefined ? Limits.parse(defaultLimits, 'built in') : Limits.parse(readFileSync(file, 'utf8'), file)),
}

export const variables = {
  ...grpcVariables,
  ...identityVariables,
  ...accessVariables,
  redisUrl: optional(url('REDIS_URL', 'The Redis that all replicas count in; without one each counts for itself', redisSchemes)),
  limits,
  redisLimitMs: duration('RATELIMIT_REDIS_TIMEOUT', 'How long Redis may take before a decision is made without it', { default: '40ms' }),
}
