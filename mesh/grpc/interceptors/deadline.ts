import { meshErrors } from '../../errors.ts'
import type { Interceptor } from './interceptor.ts'

/** With less time left, no useful work can start. */
const minMs = 10

/** Responds when the call's deadline has passed or the caller is gone, even if the handler has not finished. */
export function deadline(): Interceptor {
  return async (call, next) => {
    if (call.deadline - Date.now() < minMs) throw meshErrors.DEADLINE_TOO_SHORT()
    let over: (() => void) | undefined
    const ended = new Promise<never>((_, reject) => {
      over = () => reject(Date.now() >= call.deadline - 1 ? meshErrors.DEADLINE_EXCEEDED() : meshErrors.CANCELLED())
      call.signal.addEventListener('abort', over, { once: true })
    })
    try {
      return await Promise.race([next(), ended])
    } finally {
      call.signal.removeEventListener('abort', over!)
    }
  }
}
