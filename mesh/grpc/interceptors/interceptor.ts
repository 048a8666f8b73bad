import type { Call } from '../call.ts'

/** Wraps the handling of one call. Resolves to the encoded response. */
export type Interceptor = (call: Call, next: () => Promise<Uint8Array>) => Promise<Uint8Array>

/** The first is the outermost. */
export function chain(interceptors: readonly Interceptor[], call: Call, handle: () => Promise<Uint8Array>): Promise<Uint8Array> {
  const from = (index: number): Promise<Uint8Array> => {
    const interceptor = interceptors[index]
    return interceptor === undefined ? handle() : interceptor(call, () => from(index + 1))
  }
  return from(0)
}
