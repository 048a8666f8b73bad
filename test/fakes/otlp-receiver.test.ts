import { gzipSync } from 'node:zlib'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type OtlpReceiver, startOtlpReceiver } from './otlp-receiver.ts'
import { Malformed, spansIn } from './otlp-trace.ts'

const { LengthDelimited, Varint, Bit64 } = WireType
const sized = (number: number, of: Uint8Array): Uint8Array => new BinaryWriter().tag(number, LengthDelimited).bytes(of).finish()
const words = (number: number, of: string): Uint8Array => new BinaryWriter().tag(number, LengthDelimited).string(of).finish()
const varint = (number: number, of: number): Uint8Array => new BinaryWriter().tag(number, Varint).uint32(of).finish()
const fixed = (number: number, of: bigint): Uint8Array => new BinaryWriter().tag(number, Bit64).fixed64(of).finish()
const join = (...parts: Uint8Array[]): Uint8Array => Buffer.concat(parts)
const hex = (of: string): Uint8Array => Buffer.from(of, 'hex')
const pair = (number: number, name: string, value: Uint8Array): Uint8Array => sized(number, join(words(1, name), sized(2, value)))

const [trace, one, two] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', '00f067aa0ba902b7']

/** The fields of a span by their numbers; each can be left out or put otherwise. */
type Parts = Record<number, Uint8Array | undefined>
const whole: Parts = {
  1: sized(1, hex(trace)),
  2: sized(2, hex(one)),
  5: words(5, 'begin_run'),
  6: varint(6, 3),
  7: fixed(7, 1_700_000_000_000_000_000n),
  8: fixed(8, 1_700_000_000_000_000_001n),
}
const spanOf = (parts: Parts): Uint8Array => join(...Object.values({ ...whole, ...parts }).filter((part) => part !== undefined))
const resource = sized(1, pair(1, 'service.name', words(1, 'actions')))
const exportOf = (...spans: Uint8Array[]): Uint8Array => sized(1, join(resource, sized(2, join(...spans.map((span) => sized(2, span))))))
const only = (parts: Parts) => spansIn(exportOf(spanOf(parts)))[0]

describe('what is sent', () => {
  test('is read to the last attribute, each value as what it was sent as', () => {
    const attributes = join(
      pair(9, 'text', words(1, 'a')),
      pair(9, 'flag', varint(2, 1)),
      pair(9, 'status', new BinaryWriter().tag(3, Varint).int64(-200).finish()),
      pair(9, 'share', new BinaryWriter().tag(4, Bit64).double(0.5).finish()),
      pair(9, 'list', sized(5, join(sized(1, words(1, 'a')), sized(1, varint(2, 0))))),
      pair(9, 'bytes', sized(7, hex('00ff'))),
    )
    const link = sized(13, join(sized(1, hex(trace)), sized(2, hex(two))))
    const event = sized(11, join(fixed(1, 1_700_000_000_000_000_000n), words(2, 'retried')))
    const status = sized(15, varint(3, 2))
    expect(only({ 4: sized(4, hex(two)), 9: attributes, 10: varint(10, 2), 11: event, 13: link, 15: status })).toEqual({
      service: 'actions',
      resource: { 'service.name': 'actions' },
      traceId: trace,
      spanId: one,
      parentId: two,
      name: 'begin_run',
      kind: 'CLIENT',
      start: 1_700_000_000_000_000_000n,
      end: 1_700_000_000_000_000_001n,
      attributes: { text: 'a', flag: true, status: { int: -200n }, share: { double: 0.5 }, list: ['a', false], bytes: { bytes: '00ff' } },
      events: [{ name: 'retried', at: 1_700_000_000_000_000_000n, attributes: {} }],
      links: [{ traceId: trace, spanId: two, attributes: {} }],
      status: { code: 'ERROR', message: '' },
      dropped: 2,
    })
  })

  const wrong: Record<string, Parts> = {
    'without a trace': { 1: undefined },
    'with a trace id of another length': { 1: sized(1, hex(one)) },
    'with a trace id of zeros': { 1: sized(1, Buffer.alloc(16)) },
    'without a span id': { 2: undefined },
    'with a span id of zeros': { 2: sized(2, Buffer.alloc(8)) },
    'with half a parent': { 4: sized(4, hex('00f067aa')) },
    'that is its own parent': { 4: sized(4, hex(one)) },
    'without a name': { 5: undefined },
    'of no kind': { 6: undefined },
    'of an unknown kind': { 6: varint(6, 6) },
    'that ends before it starts': { 8: fixed(8, 1_699_999_999_999_999_999n) },
    'that never started': { 7: undefined },
    'with an attribute twice': { 9: join(pair(9, 'a', words(1, 'b')), pair(9, 'a', words(1, 'c'))) },
    'with an attribute without a value': { 9: pair(9, 'a', Buffer.alloc(0)) },
    'with an attribute without a name': { 9: pair(9, '', words(1, 'b')) },
    'with an attribute of two types': { 9: pair(9, 'a', join(words(1, 'b'), varint(2, 1))) },
    'with a link without a span': { 13: sized(13, sized(1, hex(trace))) },
    'with an unknown status': { 15: sized(15, varint(3, 3)) },
    'that describes a status that is no error': { 15: sized(15, join(words(2, 'why'), varint(3, 1))) },
    'with a field that the protocol does not have': { 17: varint(17, 1) },
    'with a field of another type': { 5: varint(5, 1) },
    'with a name that is no UTF-8': { 5: sized(5, hex('c328')) },
    'with two names': { 5: join(words(5, 'a'), words(5, 'b')) },
  }
  test.each(Object.entries(wrong))('a span %s is refused', (_, parts) => {
    expect(() => only(parts)).toThrow(Malformed)
  })

  test('a resource that is no service is refused', () => {
    expect(() => spansIn(sized(1, sized(2, sized(2, spanOf({})))))).toThrow('service.name')
  })

  test('cut off or changed anywhere, it is read or refused, and never anything else', () => {
    const good = exportOf(spanOf({ 9: pair(9, 'a', words(1, 'b')) }), spanOf({ 2: sized(2, hex(two)) }))
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, byte, length) => {
        const bad = Buffer.from(good)
        bad[at] = byte
        for (const bytes of [bad, good.subarray(0, length), bad.subarray(0, length)]) {
          try {
            spansIn(bytes)
          } catch (error) {
            expect(error).toBeInstanceOf(Malformed)
          }
        }
      }),
    )
  })
})

describe('the receiver', () => {
  let receiver: OtlpReceiver
  beforeAll(async () => {
    receiver = await startOtlpReceiver()
  })
  afterEach(() => (receiver.mode = 'take'))
  afterAll(() => receiver.close())

  const post = (body: Uint8Array, headers: Record<string, string> = {}, path = '/v1/traces') =>
    fetch(receiver.url + path, {
      method: 'POST',
      body: Buffer.from(body),
      headers: { 'content-type': 'application/x-protobuf', ...headers },
    })

  test('takes exports, compressed or not, and gives their spans as trees in the order in which they started', async () => {
    const child = (id: string, start: bigint, parent = one) =>
      spanOf({ 2: sized(2, hex(id)), 4: sized(4, hex(parent)), 7: fixed(7, start), 8: fixed(8, start), 5: words(5, id) })
    expect((await post(exportOf(child('00000000000000c2', 3n), spanOf({})))).status).toBe(200)
    const compressed = gzipSync(exportOf(child('00000000000000c1', 2n), child('00000000000000c3', 4n, '00000000000000c2')))
    expect((await post(compressed, { 'content-encoding': 'gzip' })).status).toBe(200)
    await receiver.until(({ spans }) => spans.length === 4)
    expect(receiver.trace(trace)).toMatchObject([
      {
        name: 'begin_run',
        children: [{ name: '00000000000000c1' }, { name: '00000000000000c2', children: [{ name: '00000000000000c3' }] }],
      },
    ])
    // Sent again, as after an answer that was lost, they are the same spans.
    await post(exportOf(spanOf({})))
    expect(receiver.spans).toHaveLength(4)
  })

  test('refuses what is no export, and says why', async () => {
    const before = receiver.malformed.length
    expect((await post(hex('ff'))).status).toBe(400)
    expect((await post(hex('00'), { 'content-encoding': 'gzip' })).status).toBe(400)
    expect((await post(exportOf(spanOf({})), { 'content-encoding': 'br' })).status).toBe(415)
    expect((await post(exportOf(spanOf({})), { 'content-type': 'application/json' })).status).toBe(415)
    expect((await post(exportOf(spanOf({})), {}, '/v1/logs')).status).toBe(404)
    expect((await fetch(`${receiver.url}/v1/traces`)).status).toBe(405)
    expect(receiver.malformed.slice(before)).toHaveLength(6)
  })

  test('is useless as it is told to be: it refuses, falls silent, answers late, or is gone and comes back', async () => {
    const fresh = exportOf(spanOf({ 1: sized(1, hex('4bf92f3577b34da6a3ce929d0e0e4736')) }))
    receiver.mode = 'refuse'
    expect((await post(fresh)).status).toBe(503)
    expect(receiver.trace('4bf92f3577b34da6a3ce929d0e0e4736')).toEqual([])

    receiver.mode = 'silent'
    const { requests } = receiver
    const unanswered = post(fresh).then(
      ({ status }) => status,
      () => 'cut',
    )
    await receiver.until((each) => each.requests === requests + 1)
    await receiver.leave()
    expect(await unanswered).toBe('cut')
    await expect(post(fresh)).rejects.toThrow('fetch failed')

    await receiver.comeBack()
    receiver.mode = 'slow'
    const late = post(fresh)
    await receiver.until((each) => each.requests === requests + 2)
    receiver.release()
    expect((await late).status).toBe(200)
    expect(receiver.trace('4bf92f3577b34da6a3ce929d0e0e4736')).toHaveLength(1)
  })

  test('says in vain what came instead of what was waited for', async () => {
    await expect(receiver.until(() => false, 1)).rejects.toThrow('actions begin_run')
  })
})
