/**
 * What every call passes through, in this order, and why it is this one:
 *
 * 1. observe   sees how the call ended, whatever ended it: one log line and the metrics
 * 2. errors    whatever is thrown becomes an error of the family, so that observe and the caller see the same
 * 3. deadline  answers in time, and refuses what has no time left, before any work
 * 4. policy    who is calling, and whether the contract lets them; before a byte of the request is looked at
 * 5. validate  the contract's rules on the request; the handler gets only what passes
 */
import type { DenialCounter } from '../../audit/denials.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { Verifier } from '../caller.ts'
import type { Method } from '../descriptors.ts'
import { deadline } from './deadline.ts'
import { errors } from './errors.ts'
import type { Interceptor } from './interceptor.ts'
import { observe } from './observe.ts'
import { policy } from './policy.ts'
import { validate } from './validate.ts'

export interface InterceptorParts {
  log: Logger
  metrics: Metrics
  verifier: Verifier
  denials?: DenialCounter | undefined
  /** Those that are served: each is counted from 0. */
  methods?: readonly Method[]
}

export function interceptors({ log, metrics, verifier, denials, methods }: InterceptorParts): readonly Interceptor[] {
  return [observe(metrics, log, methods), errors(), deadline(), policy(verifier, denials), validate()]
}
