/** Bodies: JSON in UTF-8, as the bytes they came in; the route's reader takes them apart. */
import type { FastifyInstance } from 'fastify'
import { within } from '#mesh/telemetry/scope.ts'
import { errors } from '../errors.ts'

const mediaType = /^application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i

export function jsonBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const type = request.headers['content-type']!
    const encoding = request.headers['content-encoding']
    if (type !== 'application/json' && !mediaType.test(type)) done(errors.UNSUPPORTED_MEDIA_TYPE())
    else if (encoding !== undefined && encoding.toLowerCase() !== 'identity') done(errors.UNSUPPORTED_MEDIA_TYPE())
    // The body's end comes from the connection: from here on it is the request's work again.
    else within(request.scope, () => done(null, body))
  })
}
