/** The other side of the webhooks: takes everything and answers at once. Its CPU counts as nobody's. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const server = createServer((request, response) => {
  request.resume().on('end', () => response.writeHead(200, { 'content-type': 'text/plain' }).end('OK'))
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  console.log(JSON.stringify({ event: 'listening', http: `127.0.0.1:${port}` }))
})
process.stdin.on('end', () => process.exit()).resume()
