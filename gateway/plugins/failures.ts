/** Every failure of a request becomes a problem document: MeshErrors, and errors of Fastify, the router and the HTTP parser. */
import type { Socket } from 'node:net'
import { STATUS_CODES, type ServerResponse } from 'node:http'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { toProblem } from '#mesh/problem.ts'
import { errors } from '../errors.ts'
import { type PendingResponse, UnreadBodies } from '../unread.ts'
import { newRequestId } from './request-id.ts'
import { securityHeaders } from './security-headers.ts'

const byFastifyCode: Readonly<Record<string, (details: { cause: unknown }) => MeshError>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: errors.BODY_TOO_LARGE,
  FST_ERR_CTP_INVALID_MEDIA_TYPE: errors.UNSUPPORTED_MEDIA_TYPE,
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: errors.MALFORMED_REQUEST,
  FST_ERR_BAD_URL: errors.INVALID_URL,
  FST_ERR_MAX_PARAM_LENGTH: errors.URL_TOO_LONG,
  // The client disconnected in the middle of its body.
  ECONNRESET: errors.MALFORMED_REQUEST,
  ECONNABORTED: errors.MALFORMED_REQUEST,
}

/** Other errors of Fastify, the router or Node are the client's mistake if their status says so. */
const byStatus: Readonly<Record<number, (details: { cause: unknown }) => MeshError>> = {
  404: errors.NOT_FOUND,
  408: errors.REQUEST_TIMEOUT,
  413: errors.BODY_TOO_LARGE,
  414: errors.URL_TOO_LONG,
  415: errors.UNSUPPORTED_MEDIA_TYPE,
  431: errors.HEADERS_TOO_LARGE,
}

function familyOf(error: unknown): MeshError {
  if (error instanceof MeshError) return error
  const { code = '', statusCode = 500 } = (error ?? {}) as Partial<FastifyError>
  const refused = statusCode >= 400 && statusCode < 500
  const known = byFastifyCode[code] ?? (refused ? (byStatus[statusCode] ?? errors.MALFORMED_REQUEST) : meshErrors.INTERNAL)
  return known({ cause: error })
}

/** After these errors the start of the next request on the connection is uncertain. */
const endsConnection = new Set(['MALFORMED_REQUEST', 'HOST_INVALID', 'HEADER_REPEATED'])

/** Converts what was thrown to a MeshError and notes it for the log. Closes the connection after the response if necessary. */
export function noteFailure(request: FastifyRequest, reply: FastifyReply, thrown: unknown): MeshError {
  const error = familyOf(thrown)
  request.failure = error
  if (endsConnection.has(error.reason)) reply.header('connection', 'close')
  return error
}

/** Answers a request with a problem document. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, thrown: unknown): FastifyReply {
  const error = noteFailure(request, reply, thrown)
  return sendRefusal(request, reply, toProblem(error, request.id))
}

/** One per process, because the bodies compete for the one event loop. */
const unread = new UnreadBodies()

/** Rejects a request, however much of its body is still unread. */
export function sendRefusal(request: FastifyRequest, reply: FastifyReply, response: PendingResponse): FastifyReply {
  reply.code(response.status).headers(response.headers)
  if (!unread.isLarge(request.raw)) return reply.send(response.body)
  // Nothing of the body is kept, and the response must not wait for it.
  request.held?.release()
  reply.hijack()
  unread.answer(request.raw, reply.raw, { ...response, headers: reply.getHeaders() as PendingResponse['headers'] })
  return reply
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** Add this before anything that may fail. */
export function handleFailures(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, error))
}

/**
 * Answers requests that match no route, and OPTIONS, which lists the methods of a path. There are two hooks: OPTIONS is answered before
 * CORS, which would answer it otherwise; everything else after CORS, so that web pages can read the error. Both count against the address.
 */
export function handleUnmatched(
  app: FastifyInstance,
  limitAddress: onRequestHookHandler,
): { options: onRequestHookHandler; others: onRequestHookHandler } {
  const unmatched = (request: FastifyRequest, reply: FastifyReply) => {
    const path = request.raw.url!.split(/[?#]/)[0]!
    const allowed = methods.filter((method) => app.findRoute({ method, url: path }) !== null)
    if (allowed.length === 0) return sendProblem(request, reply, errors.NOT_FOUND())
    reply.header('allow', [...allowed, 'OPTIONS'].join(', '))
    // OPTIONS returns the methods of a path: RFC 9110, 9.3.7.
    return request.method === 'OPTIONS' ? reply.code(204).send() : sendProblem(request, reply, errors.METHOD_NOT_ALLOWED())
  }
  app.setNotFoundHandler(unmatched)
  return {
    // With this header it is a browser's preflight.
    options(request, reply, done) {
      if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] !== undefined) return done()
      limitAddress.call(app, request, reply, (error) => void (error === undefined ? unmatched(request, reply) : done(error)))
    },
    // Before its body is read.
    others: (request, reply, done) => void (request.is404 ? unmatched(request, reply) : done()),
  }
}

/**
 * Answers input that never became a request: there is only the socket to write to. `last` is the last response on it, if any. Returns the
 * status that was sent.
 */
export function sendParserError(error: Error & { code?: string }, socket: Socket, last: ServerResponse | undefined): number | undefined {
  if (error.code === 'ECONNRESET' || socket.destroyed) return undefined
  const answering = last?.headersSent === true && !last.writableFinished
  if (answering) {
    // The request was rejected before the rest of it proved malformed: one response is enough.
    socket.destroySoon()
    return undefined
  }
  if (!socket.writable) {
    socket.destroy()
    return undefined
  }
  const problem = toProblem(parserFailure(error.code), newRequestId())
  const { reason, request_id: requestId } = JSON.parse(problem.body) as { reason: string; request_id: string }
  const length = String(Buffer.byteLength(problem.body))
  const headers = { ...securityHeaders, ...problem.headers, 'x-request-id': requestId, 'content-length': length, connection: 'close' }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  // destroySoon sends pending bytes first; a client that continues to send must not hold the socket.
  socket.write(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? reason}\r\n${lines.join('')}\r\n${problem.body}`)
  socket.destroySoon()
  return problem.status
}

/** Every status that sendParserError sends. */
export const parserStatuses = ['400', '408', '431'] as const

function parserFailure(code: string | undefined): MeshError {
  if (code === 'HPE_HEADER_OVERFLOW') return errors.HEADERS_TOO_LARGE()
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return errors.REQUEST_TIMEOUT()
  return errors.MALFORMED_REQUEST()
}
