/** The baseline's service: returns a fixed response to ListActions, through plain grpc-js and the generated code. */
import { Server, ServerCredentials, type handleUnaryCall } from '@grpc/grpc-js'
import { ActionsServiceService, type ListActionsRequest, type ListActionsResponse } from '#gen/relay/actions/v1/actions.ts'
import { readConfig, text } from '#mesh/config.ts'

const config = readConfig({ response: text('FLOOR_RESPONSE', 'The ListActionsResponse to give, as JSON') })
const response = JSON.parse(config.response) as ListActionsResponse

const listActions: handleUnaryCall<ListActionsRequest, ListActionsResponse> = (_call, reply) => reply(null, response)

const server = new Server()
server.addService(ActionsServiceService, { listActions })
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error
  console.log(JSON.stringify({ event: 'listening', grpc: `127.0.0.1:${port}` }))
})
process.stdin.on('end', () => process.exit()).resume()
