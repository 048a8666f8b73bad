/**
 * google.api.HttpBody: a response that is not JSON. The gateway sends the service's bytes unchanged, with the content type that the service
 * names.
 */
import type { DescMessage } from '@bufbuild/protobuf'
import { HttpBody } from '#gen/google/api/httpbody.ts'

export const isHttpBody = (message: DescMessage): boolean => message.typeName === 'google.api.HttpBody'

/** Valid content types: type, subtype and plain parameters (RFC 9110, 8.3.1). */
const contentTypePattern = /^[\w.+-]+\/[\w.+-]+(?:; ?[\w-]+=[\w.+-]+)*$/

/** Throws an Error for bytes that are not an HttpBody, and for one without a usable content type. */
export function readHttpBody(bytes: Uint8Array): { type: string; body: Buffer } {
  const { contentType, data } = HttpBody.decode(bytes)
  if (!contentTypePattern.test(contentType)) throw new Error('an HttpBody without a usable content type')
  return { type: contentType, body: data }
}
