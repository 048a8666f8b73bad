import type { Denial, DenialCounter } from '../../audit/denials.ts'
import { parseApiKey } from '../../api-key.ts'
import { MeshError, meshErrors } from '../../errors.ts'
import { annotate } from '../../telemetry/scope.ts'
import type { Call } from '../call.ts'
import { type Verifier, isService } from '../caller.ts'
import type { Interceptor } from './interceptor.ts'

/**
 * Finds out who calls, and lets through whom the contract names: peers on the list, callers with the permission, anybody where it is open.
 * Everything else is refused, as is a proof that proves nothing. What the verifier has seen before is answered without waiting.
 *
 * `refusals` is told of every refusal here, and of those that a handler makes of a caller whom the contract let through. An open method
 * knows better than this who asked, and tells of its own.
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
      // Over mTLS the certificate has said it already, and needs no token beside it.
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

/** A peer that calls for itself stands under its name; of who is not known nothing is said but the address. */
function refusalOf({ caller, callerToken, peer, requestId, trace, source = '' }: Call, { code, reason }: MeshError): Denial {
  const isUnauthenticated = code === 'UNAUTHENTICATED'
  // A caller token that is none says nothing of the peer that carries it.
  const itself = peer !== undefined && (callerToken === undefined || !isUnauthenticated)
  const { workspace, actor, keyId } = caller ?? { workspace: '', actor: itself ? `peer:${peer}` : '', keyId: '' }
  const action = isUnauthenticated ? 'sign_in.refused' : 'permission.refused'
  return { workspace, actor, keyId, requestId, traceId: trace.traceId, source, action, reason }
}
