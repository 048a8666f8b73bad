/** Bodies: JSON in UTF-8, as the bytes they came in; the route's reader takes them apart. */
import type { FastifyInstance } from 'fastify'
import { runInScope } from '#mesh/telemetry/scope.ts'
import { errors } from '../errors.ts'

/**
 * Parameters say nothing about JSON (RFC 8259, 11): what some clients send is let through, but for another charset than UTF-8. What is no
 * parameter (RFC 9110, 5.6.6) is refused: a second media type, say.
 */
const parameter = /^\s*(?:([\w!#$%&'*+.^`|~-]+)\s*=\s*("[^"]*"|[\w!#$%&'*+.^`|~-]+)\s*)?$/

function isJson(type: string): boolean {
  const [essence = '', ...parameters] = type.split(';')
  return (
    essence.trim().toLowerCase() === 'application/json' &&
    parameters.every((text) => {
      const match = parameter.exec(text)
      return match !== null && (match[1]?.toLowerCase() !== 'charset' || /^"?utf-?8"?$/i.test(match[2]!))
    })
  )
}

export function jsonBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const type = request.headers['content-type']!
    const encoding = request.headers['content-encoding']
    if (type !== 'application/json' && !isJson(type)) done(errors.UNSUPPORTED_MEDIA_TYPE())
    else if (encoding !== undefined && encoding.toLowerCase() !== 'identity') done(errors.UNSUPPORTED_MEDIA_TYPE())
    // The body's end comes from the connection: from here on it is the request's work again.
    else runInScope(request.scope, () => done(null, body))
  })
}
