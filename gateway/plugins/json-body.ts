/** Bodies are JSON in UTF-8. They stay bytes here; the reader of the route parses them. */
import type { FastifyInstance } from 'fastify'
import { runInScope } from '#mesh/telemetry/scope.ts'
import { errors } from '../errors.ts'

/**
 * Parameters have no meaning for JSON (RFC 8259, 11): they are accepted, except for a charset other than UTF-8. Text that is not a
 * parameter (RFC 9110, 5.6.6), such as a second media type, is rejected.
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
    // The end of the body is an event of the connection, outside the scope of the request: enter it again.
    else runInScope(request.scope, () => done(null, body))
  })
}
