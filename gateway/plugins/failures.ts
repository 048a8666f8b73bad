/** Whatever goes wrong with a request becomes a problem document: errors of the family, Fastify's, the router's, the HTTP parser's. */
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
  // The client went, or broke off, in the middle of its body.
  ECONNRESET: errors.MALFORMED_REQUEST,
  ECONNABORTED: errors.MALFORMED_REQUEST,
}

/** What Fastify, the router or Node refuses for a reason that has no row above is still the client's mistake where they say so. */
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

/** After these it is not certain where the next request on the connection begins. */
const endsConnection = new Set(['MALFORMED_REQUEST', 'HOST_INVALID', 'HEADER_REPEATED'])

/** What was thrown as an error of the family, noted for the log; the answer, whatever it looks like, ends the connection where it must. */
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

/** Of the whole process: it is the process that they keep from its work. */
const unread = new UnreadBodies()

/** Sends why a request was refused, whatever is left of its body. */
export function sendRefusal(request: FastifyRequest, reply: FastifyReply, response: PendingResponse): FastifyReply {
  reply.code(response.status).headers(response.headers)
  if (!unread.isLarge(request.raw)) return reply.send(response.body)
  // Nothing is kept of it from here on, and the answer is not to wait for it.
  request.held?.release()
  reply.hijack()
  unread.answer(request.raw, reply.raw, { ...response, headers: reply.getHeaders() as PendingResponse['headers'] })
  return reply
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** To be added before anything that may fail. */
export function handleFailures(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, error))
}

/**
 * Answers what no route takes, and OPTIONS, which asks what a path takes. Two hooks: what is asked by OPTIONS is answered before CORS, which
 * would answer it otherwise, and everything else behind it, so that web pages may read the refusal. Both count against the address.
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
    // What a path takes, asked by OPTIONS: RFC 9110, 9.3.7.
    return request.method === 'OPTIONS' ? reply.code(204).send() : sendProblem(request, reply, errors.METHOD_NOT_ALLOWED())
  }
  app.setNotFoundHandler(unmatched)
  return {
    // With this header it is a browser's preflight.
    options(request, reply, done) {
      if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] !== undefined) return done()
      limitAddress.call(app, request, reply, (error) => void (error === undefined ? unmatched(request, reply) : done(error)))
    },
    // Before its body is looked at.
    others: (request, reply, done) => void (request.is404 ? unmatched(request, reply) : done()),
  }
}

/**
 * Answers what never became a request: there is only the socket to write to. `last` is the last response on it, if there was one. Reports
 * the status that was sent.
 */
export function sendParserError(error: Error & { code?: string }, socket: Socket, last: ServerResponse | undefined): number | undefined {
  if (error.code === 'ECONNRESET' || socket.destroyed) return undefined
  const answering = last?.headersSent === true && !last.writableFinished
  if (answering) {
    // The request was refused before the rest of it turned out to be malformed: one answer is enough.
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
  // destroySoon sends what is written first; a client that goes on sending must not hold the socket.
  socket.write(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? reason}\r\n${lines.join('')}\r\n${problem.body}`)
  socket.destroySoon()
  return problem.status
}

/** Every status that it answers with. */
export const parserStatuses = ['400', '408', '431'] as const

function parserFailure(code: string | undefined): MeshError {
  if (code === 'HPE_HEADER_OVERFLOW') return errors.HEADERS_TOO_LARGE()
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return errors.REQUEST_TIMEOUT()
  return errors.MALFORMED_REQUEST()
}
