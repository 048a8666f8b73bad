import type { Denial, DenialCounter } from '../../audit/denials.ts'
import { parseApiKey } from '../../api-key.ts'
import { MeshError, meshErrors } from '../../errors.ts'
import { annotate } from '../../telemetry/scope.ts'
import type { Call } from '../call.ts'
import { type Verifier, isService } from '../caller.ts'
import type { Interceptor } from './interceptor.ts'

/**
 * Identifies the caller, and admits whom the contract names: listed peers, callers with the permission, anyone if it is open. It rejects
 * everything else, including invalid proofs. Credentials that the verifier has seen are checked synchronously.
 *
 * `denials` is called for every denial here, and for those of a handler after the contract admitted the caller. An open method knows its
 * caller better, and reports its own.
 */
export function policy(verifier: Verifier, denials?: DenialCounter): Interceptor {
  const refuse = (call: Call, error: MeshError): MeshError => {
    denials?.note(refusalOf(call, error))
    return error
  }
  const unauthenticated = (call: Call, message?: string) => refuse(call, meshErrors.UNAUTHENTICATED({ message }))
  const noToken = 'No valid credentials: send authorization: Bearer <caller token>; access.AccessService/Exchange gives one for an API key.'
  const notValid = (token: string) =>
    parseApiKey(token) === undefined
      ? 'This caller token is not valid, or it has expired: access.AccessService/Exchange gives a new one for an API key.'
      : 'This is an API key, which only access takes: access.AccessService/Exchange gives a caller token for it, to send in its place.'
  const denied = (call: Call, message?: string) => refuse(call, meshErrors.PERMISSION_DENIED({ message }))
  return async (call, next) => {
    const { permission, peers, open } = call.method
    if (call.peerToken !== undefined) {
      const found = verifier.peer(call.peerToken)
      const peer = found instanceof Promise ? await found : found
      if (peer === undefined) throw unauthenticated(call, 'x-relay-peer does not prove a service of this mesh.')
      // Over mTLS the certificate has proved it already; no token is needed beside it.
      if (peer !== (call.peer ?? peer)) throw unauthenticated(call, 'x-relay-peer names another service than the certificate.')
      call.peer = peer
    }
    if (call.peer !== undefined && (peers.includes(call.peer) || (peers.includes('*') && isService(call.peer)))) return next()
    if (open) return next()
    if (permission === undefined) {
      throw call.peer === undefined ? unauthenticated(call, 'Only services of the mesh may call this.') : denied(call)
    }
    if (call.callerToken === undefined) throw unauthenticated(call, noToken)
    const caller = verifier.caller(call.callerToken)
    call.caller = caller instanceof Promise ? await caller : caller
    if (call.caller === undefined) throw unauthenticated(call, notValid(call.callerToken))
    annotate({ workspace: call.caller.workspace })
    if (!call.caller.may(permission)) throw denied(call, `The caller lacks the permission ${permission}.`)
    try {
      return await next()
    } catch (error) {
      throw error instanceof MeshError && error.code === 'PERMISSION_DENIED' ? refuse(call, error) : error
    }
  }
}

/** A peer that calls for itself is recorded under its name; of an unknown caller only the address is recorded. */
function refusalOf({ caller, callerToken, peer, requestId, trace, source = '' }: Call, { code, reason }: MeshError): Denial {
  const isUnauthenticated = code === 'UNAUTHENTICATED'
  // An invalid caller token says nothing about the peer that carries it.
  const itself = peer !== undefined && (callerToken === undefined || !isUnauthenticated)
  const { workspace, actor, keyId } = caller ?? { workspace: '', actor: itself ? `peer:${peer}` : '', keyId: '' }
  const action = isUnauthenticated ? 'sign_in.refused' : 'permission.refused'
  return { workspace, actor, keyId, requestId, traceId: trace.traceId, source, action, reason }
}
