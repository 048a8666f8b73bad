/** The baseline's gateway: Fastify in front of one call by plain grpc-js, in the public JSON shape, and nothing else. */
import { credentials } from '@grpc/grpc-js'
import Fastify from 'fastify'
import { ActionsServiceClient, type ListActionsResponse } from '#gen/relay/actions/v1/actions.ts'
import { readConfig, text } from '#mesh/config.ts'

const config = readConfig({ service: text('BASELINE_SERVICE', "The baseline's service, as host:port") })
const service = new ActionsServiceClient(config.service, credentials.createInsecure())

const toJson = ({ actions, requestId }: ListActionsResponse) => ({
  actions: actions.map(({ action, provider, description, paramsSchema, available, unavailableReason }) => {
    return { action, provider, description, params_schema: paramsSchema, available, unavailable_reason: unavailableReason ?? null }
  }),
  request_id: requestId,
})

const app = Fastify()
app.get('/actions', (_request, reply) => {
  service.listActions({}, (error, response) => void reply.send(error ?? toJson(response)))
})
const address = await app.listen({ host: '127.0.0.1', port: 0 })
console.log(JSON.stringify({ event: 'listening', http: new URL(address).host }))
process.stdin.on('end', () => process.exit()).resume()
