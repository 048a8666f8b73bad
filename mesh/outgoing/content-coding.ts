/**
 * The body of a response, decoded and limited. `Accept-Encoding: identity` asks for none of this, but a server may ignore it (RFC 9110,
 * 12.5.3). Nothing is decoded while it arrives: first the received bytes are limited, then the decoded ones, so that no bomb and no slow
 * sender holds memory. One body at a time, because a decoder may keep a window of 16 MB.
 */
import type { Readable, Transform } from 'node:stream'
import zlib from 'node:zlib'
import { FairSlots } from '../fair-slots.ts'

export interface Body {
  bytes: Buffer
  /** Whether that is the whole body: not if a limit was reached, the connection ended, or the encoding is broken or unknown. */
  complete: boolean
  /** The unknown encoding; nothing of the body is shown then. */
  unknownCoding?: string
}

type Decoder = (flush: boolean, first: number, second: number) => Transform

const gunzip: Decoder = (flush) => zlib.createGunzip(flush ? { finishFlush: zlib.constants.Z_SYNC_FLUSH } : {})

/** https://www.iana.org/assignments/http-parameters: those in use. */
const decoders: ReadonlyMap<string, Decoder> = new Map([
  ['gzip', gunzip],
  ['x-gzip', gunzip],
  ['br', (flush) => zlib.createBrotliDecompress(flush ? { finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH } : {})],
  [
    'deflate',
    (flush, first, second) => {
      // RFC 9110, 8.4.1.2: zlib's format; some servers send it without that frame.
      const framed = (first & 0x0f) === 8 && ((first << 8) | second) % 31 === 0
      const options = flush ? { finishFlush: zlib.constants.Z_SYNC_FLUSH } : {}
      return framed ? zlib.createInflate(options) : zlib.createInflateRaw(options)
    },
  ],
])

const decoding = new FairSlots({ max: 1, maxPerTenant: 1, maxQueued: Infinity, maxQueuedPerTenant: Infinity, timeoutMs: 60_000 })

/** `encoding`: the response's Content-Encoding. Both the received and the decoded body have at most `maxBytes`. */
export async function readBody(body: Readable, encoding: string, maxBytes: number): Promise<Body> {
  const codings = encoding
    .split(',')
    .map((each) => each.trim().toLowerCase())
    .filter((each) => each !== '' && each !== 'identity')
  const raw = await collect(body, maxBytes)
  if (codings.length === 0 || raw.bytes.length === 0) return raw
  const decoder = codings.length === 1 ? decoders.get(codings[0]!) : undefined
  if (decoder === undefined) return { bytes: Buffer.alloc(0), complete: false, unknownCoding: codings.join(', ').slice(0, 100) }
  const release = await decoding.acquire('')
  try {
    const [first = 0, second = 0] = raw.bytes
    const stream = decoder(!raw.complete, first, second)
    stream.end(raw.bytes)
    const decoded = await collect(stream, maxBytes)
    return { bytes: decoded.bytes, complete: raw.complete && decoded.complete }
  } finally {
    release()
  }
}

/** What came before the limit or an error. Leaving the loop destroys the stream, and with it the connection. */
async function collect(stream: Readable, maxBytes: number): Promise<Body> {
  const chunks: Buffer[] = []
  let room = maxBytes
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      chunks.push(chunk.subarray(0, room))
      if (chunk.length > room) return { bytes: Buffer.concat(chunks), complete: false }
      room -= chunk.length
    }
  } catch {
    return { bytes: Buffer.concat(chunks), complete: false }
  }
  return { bytes: Buffer.concat(chunks), complete: true }
}
