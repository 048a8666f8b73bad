import { MeshError, meshErrors } from '../../errors.ts'
import type { Interceptor } from './interceptor.ts'

/** An error outside the family is our fault: the text of drivers and providers never leaves the process. */
export function errors(): Interceptor {
  return async (_call, next) => {
    try {
      return await next()
    } catch (error) {
      throw error instanceof MeshError ? error : meshErrors.INTERNAL({ cause: error })
    }
  }
}
