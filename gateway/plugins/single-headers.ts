/**
 * Headers that may be sent once. Node silently keeps the first of two, while a proxy in front may use the last: the two could then see
 * different requests.
 */
import type { FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'

const names = ['host', 'authorization', 'content-type', 'content-encoding', 'x-signature', 'origin']

/** Throws HOST_INVALID, HEADER_REPEATED or MALFORMED_REQUEST. `more` are further names, in lower case. */
export function singleHeaders(more: readonly string[]): (request: FastifyRequest) => void {
  const single = new Set([...names, ...more])
  // The length distinguishes most headers, without a lower-case copy.
  const lengths = new Set([...single].map((name) => name.length))
  return (request) => {
    const { rawHeaders } = request.raw
    let hosts = 0
    let seen: Set<string> | undefined
    for (let index = 0; index < rawHeaders.length; index += 2) {
      const raw = rawHeaders[index]!
      if (!lengths.has(raw.length)) continue
      const name = raw.toLowerCase()
      if (!single.has(name)) continue
      if (name === 'host') hosts += 1
      else if (seen?.has(name)) throw errors.HEADER_REPEATED({ message: `${name} was sent more than once.`, metadata: { header: name } })
      else (seen ??= new Set()).add(name)
    }
    // Node finds out that it cannot read such a body only after it has delivered the request.
    const encoding = request.headers['transfer-encoding']
    if (encoding !== undefined && encoding.toLowerCase() !== 'chunked') throw errors.MALFORMED_REQUEST()
    if (hosts !== 1 || request.headers.host === '') throw errors.HOST_INVALID()
  }
}
