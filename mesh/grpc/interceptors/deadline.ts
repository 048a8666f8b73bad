import { meshErrors } from '../../errors.ts'
import type { Interceptor } from './interceptor.ts'

/** With less than this left nothing useful can be begun. */
const minMs = 10

/** Answers when the call's time is over or the caller has gone, even if the handler has not come to its end. */
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
