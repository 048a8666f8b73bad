/** google.api.HttpBody: a response that is not JSON. It is sent as the service made it, under the content type that the service names. */
import type { DescMessage } from '@bufbuild/protobuf'
import { HttpBody } from '#gen/google/api/httpbody.ts'

export const isHttpBody = (message: DescMessage): boolean => message.typeName === 'google.api.HttpBody'

/** What a header may hold: type, subtype and plain parameters (RFC 9110, 8.3.1). */
const contentTypePattern = /^[\w.+-]+\/[\w.+-]+(?:; ?[\w-]+=[\w.+-]+)*$/

/** Throws an Error for bytes that are no such message, and for one that does not say what it holds. */
export function readHttpBody(bytes: Uint8Array): { type: string; body: Buffer } {
  const { contentType, data } = HttpBody.decode(bytes)
  if (!contentTypePattern.test(contentType)) throw new Error('an HttpBody without a usable content type')
  return { type: contentType, body: data }
}
