/** The other side of the webhooks, and of the traces: accepts everything and responds at once. Its CPU time is not counted. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const server = createServer((request, response) => {
  // An OTLP response without content is empty.
  const answer = request.url === '/v1/traces' ? { type: 'application/x-protobuf', body: '' } : { type: 'text/plain', body: 'OK' }
  request.resume().on('end', () => response.writeHead(200, { 'content-type': answer.type }).end(answer.body))
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  console.log(JSON.stringify({ event: 'listening', http: `127.0.0.1:${port}` }))
})
process.stdin.on('end', () => process.exit()).resume()
