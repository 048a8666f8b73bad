/**
 * A process that keeps to what local mode expects of the mesh's processes and does nothing else: it says where it listens, answers there
 * with its own environment, and ends on SIGTERM or when its launcher is gone. Copied to where a mesh has its mains.
 */
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const { env } = process
// As a main of the mesh would, having said what it reads.
if (process.argv.includes('--help')) process.exit(0)
if (env.STAND_IN_BROKEN !== undefined && import.meta.url.includes(env.STAND_IN_BROKEN)) throw new Error('the stand-in was told to break')

async function listen(address: string | undefined): Promise<string | undefined> {
  if (address === undefined) return undefined
  const [host, port] = address.split(':')
  const server = createServer((request, response) => {
    const refused = env.STAND_IN_REFUSES !== undefined && request.headers.authorization === `Bearer ${env.STAND_IN_REFUSES}`
    response.writeHead(refused ? 401 : 200).end(JSON.stringify(env))
  })
  server.listen(Number(port), host)
  await once(server, 'listening')
  return `${host}:${(server.address() as AddressInfo).port}`
}

function end(why: string): void {
  if (env.STAND_IN_ENDINGS !== undefined) appendFileSync(env.STAND_IN_ENDINGS, `${import.meta.url.split('/').slice(-2)[0]} ${why}\n`)
  process.exit(0)
}
process.on('SIGTERM', () => end('SIGTERM'))
if (env.RELAY_PARENT_PIPE === '1') process.stdin.on('end', () => end('launcher gone')).resume()

const [grpc, admin, http] = await Promise.all([env.GRPC_LISTEN, env.ADMIN_LISTEN, env.HTTP_LISTEN].map(listen))
console.log(JSON.stringify({ level: 30, msg: 'starting' }))
console.log(JSON.stringify({ level: 30, msg: 'listening', event: 'listening', grpc, admin, http }))
