/** Whatever goes wrong with a request becomes a problem document: errors of the family, Fastify's, the router's, the HTTP parser's. */
import type { Socket } from 'node:net'
import { STATUS_CODES, type ServerResponse } from 'node:http'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { toProblem } from '#mesh/problem.ts'
import { errors } from '../errors.ts'
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

function familyOf(error: unknown): MeshError {
  if (error instanceof MeshError) return error
  const known = byFastifyCode[(error as Partial<FastifyError> | undefined)?.code ?? '']
  return known === undefined ? meshErrors.INTERNAL({ cause: error }) : known({ cause: error })
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
  const { status, headers, body } = toProblem(error, request.id)
  return reply.code(status).headers(headers).send(body)
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

export function handleFailures(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, error))
  const unmatched = (request: FastifyRequest, reply: FastifyReply) => {
    const path = request.raw.url!.split(/[?#]/)[0]!
    const allowed = methods.filter((method) => app.findRoute({ method, url: path }) !== null)
    if (allowed.length === 0) return sendProblem(request, reply, errors.NOT_FOUND())
    reply.header('allow', [...allowed, 'OPTIONS'].join(', '))
    // What a path takes, asked by OPTIONS: RFC 9110, 9.3.7.
    return request.method === 'OPTIONS' ? reply.code(204).send() : sendProblem(request, reply, errors.METHOD_NOT_ALLOWED())
  }
  app.setNotFoundHandler(unmatched)
  app.addHook('onRequest', (request, reply, done) => {
    // With this header it is a browser's preflight, which CORS answers.
    if (request.method === 'OPTIONS' && request.headers['access-control-request-method'] === undefined) unmatched(request, reply)
    else done()
  })
}

/**
 * Answers what never became a request: there is only the socket to write to. `last` is the last response on it, if there was one. Reports
 * the status that was sent.
 */
export function answerParserError(error: Error & { code?: string }, socket: Socket, last: ServerResponse | undefined): number | undefined {
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

function parserFailure(code: string | undefined): MeshError {
  if (code === 'HPE_HEADER_OVERFLOW') return errors.HEADERS_TOO_LARGE()
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return errors.REQUEST_TIMEOUT()
  return errors.MALFORMED_REQUEST()
}
