/**
 * The interceptors of every call, in order, and the reason for the order:
 *
 * 1. observe   sees how the call ended, for whatever reason: one log line and the metrics
 * 2. errors    converts whatever is thrown to an error of the family, so that observe and the caller see the same
 * 3. deadline  responds in time, and rejects a call without time left before any work
 * 4. policy    identifies the caller and applies the contract, before any byte of the request is decoded
 * 5. validate  applies the contract's rules to the request; the handler gets only valid ones
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
  /** The served methods: each is counted from 0. */
  methods?: readonly Method[]
}

export function interceptors({ log, metrics, verifier, denials, methods }: InterceptorParts): readonly Interceptor[] {
  return [observe(metrics, log, methods), errors(), deadline(), policy(verifier, denials), validate()]
}
