/**
 * A DNS server (RFC 1035) on loopback that answers as it is told to: with addresses, with errors, with lies, late, or not at all.
 *
 *   const dns = await startDnsServer({ 'hook.example': { A: ['127.0.0.1'] }, 'slow.example': 'silent' })
 */
import dgram from 'node:dgram'
import { once } from 'node:events'

export interface Records {
  A?: readonly string[]
  AAAA?: readonly string[]
  /** In seconds; 60 where it is left out. */
  ttl?: number
  /** Types that are not answered. */
  silent?: readonly ('A' | 'AAAA')[]
}
export type Zone = Readonly<Record<string, Records | 'silent' | 'SERVFAIL' | ((question: Question) => Records | 'silent' | 'SERVFAIL')>>

export interface Question {
  name: string
  type: 'A' | 'AAAA' | 'other'
}

export interface DnsServer {
  /** As `dns.setServers` takes it. */
  readonly address: string
  readonly questions: readonly Question[]
  asked(name: string): number
  close(): Promise<void>
}

const codes = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3 }
const typeNumbers = { A: 1, AAAA: 28 }

export async function startDnsServer(zone: Zone): Promise<DnsServer> {
  const questions: Question[] = []
  const socket = dgram.createSocket('udp4')
  socket.on('message', (packet, { port, address }) => {
    const { name, type, end } = read(packet)
    const question = { name, type }
    questions.push(question)
    const found = zone[name]
    const answer = typeof found === 'function' ? found(question) : found
    if (answer === 'silent') return
    const reply = (code: number, records: readonly Buffer[]) => socket.send(response(packet, end, code, records), port, address)
    if (answer === undefined) return reply(codes.NXDOMAIN, [])
    if (answer === 'SERVFAIL') return reply(codes.SERVFAIL, [])
    if (type === 'other') return reply(codes.NOERROR, [])
    if (answer.silent?.includes(type)) return
    reply(
      codes.NOERROR,
      (answer[type] ?? []).map((each) => record(type, each, answer.ttl ?? 60)),
    )
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    address: `127.0.0.1:${socket.address().port}`,
    questions,
    asked: (name) => questions.filter((each) => each.name === name).length,
    close: async () => {
      socket.close()
      await once(socket, 'close')
    },
  }
}

function read(packet: Buffer): Question & { end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = packet[at]!; length > 0; length = packet[at]!) {
    labels.push(packet.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  const number = packet.readUInt16BE(at + 1)
  return { name: labels.join('.').toLowerCase(), type: number === 1 ? 'A' : number === 28 ? 'AAAA' : 'other', end: at + 5 }
}

function response(query: Buffer, end: number, code: number, records: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(12)
  query.copy(head, 0, 0, 2)
  // A response, recursion desired and available.
  head.writeUInt16BE(0x8180 | code, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(records.length, 6)
  return Buffer.concat([head, query.subarray(12, end), ...records])
}

function record(type: 'A' | 'AAAA', address: string, ttl: number): Buffer {
  const data = type === 'A' ? Buffer.from(address.split('.').map(Number)) : ipv6(address)
  const head = Buffer.alloc(12)
  // The name of the question.
  head.writeUInt16BE(0xc00c, 0)
  head.writeUInt16BE(typeNumbers[type], 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt32BE(ttl, 6)
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

function ipv6(address: string): Buffer {
  const [before = '', after] = address.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const [head, tail] = [groups(before), groups(after ?? '')]
  const all = after === undefined ? head : [...head, ...Array<string>(8 - head.length - tail.length).fill('0'), ...tail]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}
