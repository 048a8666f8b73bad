/**
 * The exchange of an API key for a caller token, with all checks of the key. A caller with an ended key gets the same error as one with an
 * unknown key; only the logs and the audit log tell them apart.
 */
import type { AddressLimiter } from '#mesh/address-limiter.ts'
import { mayComeFrom } from '#mesh/allowed-sources.ts'
import { type KeyEnv, parseApiKey } from '#mesh/api-key.ts'
import type { Principal } from '#mesh/audit/event.ts'
import { type MeshError, meshErrors } from '#mesh/errors.ts'
import type { Context } from '#mesh/grpc/call.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { field } from '#mesh/telemetry/names.ts'
import { errors } from '../errors.ts'
import type { KeyHash } from '../keys/key.ts'
import type { FoundKey, KeyStore } from '../keys/store.ts'
import type { Instruments } from '../metrics.ts'
import type { Issue, IssuedToken } from './issuer.ts'

export interface ExchangeParts {
  /** The environment of this mesh's keys; keys of others are rejected without a query. */
  env: KeyEnv
  /** Counts failures only: valid keys are not counted, however many one address uses. */
  limiter: Pick<AddressLimiter, 'look' | 'take'>
  hash: KeyHash
  keys: Pick<KeyStore, 'findByHash'>
  issue: Issue
  /** Records that a key was used. */
  used: (keyId: string) => void
  denials: { note(refusal: Principal & { readonly action: 'sign_in.refused'; readonly reason: string }): void }
  instruments: Instruments
  log: Logger
}

export interface ExchangeResult extends IssuedToken {
  readonly key: FoundKey
}

/**
 * `source` is the address of the caller, if known. Rejects with UNAUTHENTICATED, PERMISSION_DENIED (wrong address), SIGN_IN_LIMITED,
 * DEPENDENCY_UNAVAILABLE.
 */
export type Exchange = (apiKey: string, asking: Pick<Context, 'source' | 'requestId' | 'trace'>) => Promise<ExchangeResult>

type Reason = 'SIGN_IN_LIMITED' | 'KEY_MALFORMED' | 'KEY_UNKNOWN' | 'KEY_REVOKED' | 'KEY_EXPIRED' | 'SOURCE_REFUSED'

/** Why a key was rejected; `reason` is for operators, `error` for callers. */
interface ExchangeRefusal {
  readonly reason: Reason
  readonly error: MeshError
  /** Undefined if the key does not exist. */
  readonly key?: FoundKey
}

export function exchange(parts: ExchangeParts): Exchange {
  const { env, limiter, hash, keys, issue, used, denials, instruments, log } = parts

  const check = async (apiKey: string, source: string | undefined): Promise<FoundKey | ExchangeRefusal> => {
    const retryAfterMs = limiter.look(source ?? '')
    if (retryAfterMs > 0) return { reason: 'SIGN_IN_LIMITED', error: errors.SIGN_IN_LIMITED({ retryAfterMs }) }
    // The form alone excludes keys that this mesh never issued, without a query.
    if (parseApiKey(apiKey)?.env !== env) return { reason: 'KEY_MALFORMED', error: notValid() }
    const key = await keys.findByHash(hash(apiKey))
    if (key === undefined) return { reason: 'KEY_UNKNOWN', error: notValid() }
    if (key.status === 'revoked') return { reason: 'KEY_REVOKED', error: notValid(), key }
    if (key.status === 'expired') return { reason: 'KEY_EXPIRED', error: notValid(), key }
    if (!mayComeFrom(source, key.allowedSources)) return { reason: 'SOURCE_REFUSED', error: notFromThere(), key }
    return key
  }

  return async (apiKey, { source, requestId, trace: { traceId } }) => {
    const checked = await check(apiKey, source)
    if ('reason' in checked) {
      if (checked.reason !== 'SIGN_IN_LIMITED') limiter.take(source ?? '')
      const { reason, key: { workspace, actor, keyId } = nobody } = checked
      instruments.exchanges.inc({ outcome: reason.toLowerCase() as Lowercase<Reason> })
      const line = { [field.requestId]: requestId, [field.reason]: reason, [field.keyId]: keyId, [field.source]: source }
      // During a flood, the log line of the call itself is enough.
      if (reason !== 'SIGN_IN_LIMITED') log.info(line, 'sign-in rejected')
      denials.note({ workspace, actor, keyId, source: source ?? '', action: 'sign_in.refused', reason, requestId, traceId })
      throw checked.error
    }
    const issued = await issue(checked)
    used(checked.keyId)
    instruments.exchanges.inc({ outcome: 'granted' })
    return { ...issued, key: checked }
  }
}

const nobody = { workspace: '', actor: '', keyId: '' }
const notValid = (): MeshError =>
  meshErrors.UNAUTHENTICATED({
    message: 'This API key is not valid. Check its spelling, or use a key that has not expired or been revoked.',
  })
const notFromThere = (): MeshError =>
  meshErrors.PERMISSION_DENIED({ message: 'This API key may not be used from this address. Use one of its allowed_sources.' })
