/**
 * The exchange of an API key for a caller token: everything that a key is asked before anybody is believed to be somebody. Whoever shows a
 * key that has ended hears what they would hear of one that never was; which it was is for the logs and the audit log.
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
  /** What keys are of here; those of elsewhere are refused unseen. */
  env: KeyEnv
  /** Of failures: who signs in well is not counted, however many keys one address has. */
  limiter: Pick<AddressLimiter, 'look' | 'take'>
  hash: KeyHash
  keys: Pick<KeyStore, 'findByHash'>
  issue: Issue
  /** Notes that a key was used. */
  used: (keyId: string) => void
  refusals: { note(refusal: Principal & { readonly action: 'sign_in.refused'; readonly reason: string }): void }
  instruments: Instruments
  log: Logger
}

export interface ExchangeResult extends IssuedToken {
  readonly key: FoundKey
}

/**
 * `source` is the address that the key came from, as far as it is known. Rejects with UNAUTHENTICATED, PERMISSION_DENIED (not from this
 * address), SIGN_IN_LIMITED, DEPENDENCY_UNAVAILABLE.
 */
export type Exchange = (apiKey: string, asking: Pick<Context, 'source' | 'requestId' | 'trace'>) => Promise<ExchangeResult>

type Reason = 'SIGN_IN_LIMITED' | 'KEY_MALFORMED' | 'KEY_UNKNOWN' | 'KEY_REVOKED' | 'KEY_EXPIRED' | 'SOURCE_REFUSED'

/** Not: the reason is for those who look after the mesh, `error` for whoever asks. */
interface ExchangeRefusal {
  readonly reason: Reason
  readonly error: MeshError
  /** Undefined where there is no such key. */
  readonly key?: FoundKey
}

export function exchange(parts: ExchangeParts): Exchange {
  const { env, limiter, hash, keys, issue, used, refusals, instruments, log } = parts

  const check = async (apiKey: string, source: string | undefined): Promise<FoundKey | ExchangeRefusal> => {
    const retryAfterMs = limiter.look(source ?? '')
    if (retryAfterMs > 0) return { reason: 'SIGN_IN_LIMITED', error: errors.SIGN_IN_LIMITED({ retryAfterMs }) }
    // Its form alone tells what no key of this mesh can be: the store is not asked.
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
      // The line of the call itself says so much of a flood.
      if (reason !== 'SIGN_IN_LIMITED') log.info(line, 'sign-in refused')
      refusals.note({ workspace, actor, keyId, source: source ?? '', action: 'sign_in.refused', reason, requestId, traceId })
      throw checked.error
    }
    const issued = await issue(checked)
    used(checked.keyId)
    instruments.exchanges.inc({ outcome: 'granted' })
    return { ...issued, key: checked }
  }
}

const nobody = { workspace: '', actor: '', keyId: '' }
const notValid = (): MeshError => meshErrors.UNAUTHENTICATED({ message: 'This API key is not valid: it is mistyped, or it has ended.' })
const notFromThere = (): MeshError => meshErrors.PERMISSION_DENIED({ message: 'This API key may not be used from this address.' })
