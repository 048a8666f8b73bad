/** Sends a request to the service of its route: the message that the contract defines, and metadata that only the gateway sets. */
import type { FastifyRequest } from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import { type Channel, type RawReply, maxRequestBytes } from '#mesh/grpc/client.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { errors } from '../errors.ts'
import type { Route } from './route-table.ts'
import { requestReader } from '../transcoding/transcode.ts'

/**
 * Built once per route. A call throws the reason for which the request is rejected, and SERVICE_NOT_CONFIGURED if there is no channel. Of
 * `headers`, only those that the contract names reach the service.
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
    // Small values take more space in a message than in JSON: a body within its limit may become too large.
    if (message.length > maxRequestBytes)
      throw errors.BODY_TOO_LARGE({ message: 'The body is larger than 1 MiB once encoded as protobuf. Send less.' })
    // The request is a message now; its bytes need no memory while the service works.
    request.body = undefined
    const gone = (request.gone = new AbortController())
    // Metadata consists of these alone: no header of the client reaches a service.
    const response = channel.call(path, message, {
      requestId: request.id,
      trace: request.scope.trace,
      signal: gone.signal,
      callerToken: request.callerToken,
      source: request.source,
    })
    return response.catch((error: unknown) => {
      // The service rejects the caller token, which clients of the gateway never see; they know only their key.
      throw error instanceof MeshError && error.reason === 'UNAUTHENTICATED' ? meshErrors.UNAUTHENTICATED({ cause: error }) : error
    })
  }
}
