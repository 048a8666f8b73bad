import { meshErrors } from '../../errors.ts'
import type { Verifier } from '../caller.ts'
import type { Interceptor } from './interceptor.ts'

/** Lets through whom the contract names: callers with the permission, or peers on the list. Everything else is refused. */
export function policy(verifier: Verifier): Interceptor {
  return async (call, next) => {
    const { permission, peers } = call.method
    const peerAllowed = call.peer !== undefined && (peers.includes('*') || peers.includes(call.peer))
    if (peerAllowed) return next()
    if (permission === undefined) {
      throw call.peer === undefined
        ? meshErrors.UNAUTHENTICATED({ message: 'Only services of the mesh may call this.' })
        : meshErrors.PERMISSION_DENIED()
    }
    call.caller = call.callerToken === undefined ? undefined : await verifier.caller(call.callerToken)
    if (call.caller === undefined) throw meshErrors.UNAUTHENTICATED()
    if (!call.caller.may(permission)) throw meshErrors.PERMISSION_DENIED({ message: `The caller lacks the permission ${permission}.` })
    return next()
  }
}
