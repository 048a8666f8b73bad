/** A request on its way to the service of its route: the message that the contract makes of it, and beside that only what is ours. */
import type { FastifyRequest } from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import { type Channel, type RawReply, maxRequestBytes } from '#mesh/grpc/client.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { errors } from '../errors.ts'
import type { Route } from './route-table.ts'
import { requestReader } from '../transcoding/transcode.ts'

/**
 * Made once a route. A call throws what the request is refused with, and SERVICE_NOT_CONFIGURED where there is no channel. Of `headers`
 * only those reach the service that its contract names.
 */
export function serviceCall(route: Route, channel: Channel | undefined) {
  const { path } = route.method
  const read = requestReader(route)
  return (request: FastifyRequest, headers: IncomingHttpHeaders): Promise<RawReply> => {
    if (channel === undefined) throw errors.SERVICE_NOT_CONFIGURED({ metadata: { service: route.upstream } })
    const message = read({
      params: request.params as Record<string, string>,
      query: request.query as string,
      headers,
      body: request.body as Buffer | undefined,
    })
    // Small values take more room in a message than in JSON: a body that was within its limit may have become too large.
    if (message.length > maxRequestBytes)
      throw errors.BODY_TOO_LARGE({ message: 'The body is larger than 1 MiB in the form in which it is sent on.' })
    // It is a message now: while the service works nobody needs the bytes it was made of.
    request.body = undefined
    const gone = (request.gone = new AbortController())
    // Metadata is made of these alone: no header of the client's reaches a service.
    const response = channel.call(path, message, {
      requestId: request.id,
      trace: request.scope.trace,
      signal: gone.signal,
      callerToken: request.callerToken,
      source: request.source,
    })
    return response.catch((error: unknown) => {
      // What a service misses is the token, which clients of the gateway never see: theirs is the key.
      throw error instanceof MeshError && error.reason === 'UNAUTHENTICATED' ? meshErrors.UNAUTHENTICATED({ cause: error }) : error
    })
  }
}
