import { MeshError, meshErrors } from '../../errors.ts'
import type { Interceptor } from './interceptor.ts'

/** Whatever is thrown that is not of the family is ours to answer for: the text of drivers and providers never leaves. */
export function errors(): Interceptor {
  return async (_call, next) => {
    try {
      return await next()
    } catch (error) {
      throw error instanceof MeshError ? error : meshErrors.INTERNAL({ cause: error })
    }
  }
}
