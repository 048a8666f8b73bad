import { Metadata } from '@grpc/grpc-js'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Code, MeshError, codes, meshErrors, maxViolations } from '#mesh/errors.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { fromServiceError, toStatus } from '#mesh/grpc/status.ts'
import { type TestClient, type TestServer, connect, failureOf, requests, startServer } from '../../fixtures/mesh/server.ts'

/** Through the bytes of the status and back, as if it had been sent. */
const sent = (error: MeshError) => {
  const { code, details, metadata } = toStatus(error)
  return fromServiceError(Object.assign(new Error(details), { code: code!, details: details!, metadata: metadata! }))
}
const headerBytes = (error: MeshError) => {
  const { details, metadata } = toStatus(error)
  return encodeURI(details!).length + Object.values(metadata!.toHttp2Headers()).join('').length
}

const code = fc.constantFrom(...(Object.keys(codes) as Code[]))
const short = fc.string({ unit: 'grapheme', maxLength: 20 })
const name = fc.string({ unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz_'), minLength: 1, maxLength: 20 })
const ordinary = fc
  .record({
    domain: name,
    reason: name,
    code,
    message: short,
    violations: fc.array(fc.record({ field: name, description: short }), { maxLength: 10 }),
    retryAfterMs: fc.option(fc.nat(), { nil: undefined }),
    metadata: fc.dictionary(name, short, { maxKeys: 10, noNullPrototype: true }),
  })
  .map(({ domain, reason, code: its, ...details }) => new MeshError(domain, reason, its, '', details))

/** Whatever a careless handler might put into one: lone surrogates, control characters, pages of text, numbers that are none. */
const wild = fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)), maxLength: 5000 })
const careless = fc
  .record({
    code,
    message: wild,
    violations: fc.array(fc.record({ field: wild, description: wild }), { maxLength: 2000 }),
    retryAfterMs: fc.double(),
    metadata: fc.dictionary(wild, wild, { maxKeys: 10 }),
  })
  .map(({ code: its, ...details }) => new MeshError('tests', 'CARELESS', its, '', details))

const facts = ({ domain, reason, code: its, message, violations, retryAfterMs, metadata }: MeshError) => ({
  domain,
  reason,
  code: its,
  message,
  violations,
  retryAfterMs,
  metadata,
})

describe('an error as a status', () => {
  test('is the same after a round trip, with every detail', () => {
    fc.assert(fc.property(ordinary, (error) => void expect(facts(sent(error))).toEqual(facts(error))))
  })

  test('can always be sent, whatever a handler put into it, and fits the headers of the strictest client', () => {
    fc.assert(
      fc.property(careless, (error) => {
        expect(headerBytes(error)).toBeLessThan(8 * 1024)
        expect(sent(error)).toMatchObject({ reason: 'CARELESS', code: error.code })
      }),
      { numRuns: 200 },
    )
  })

  test('is cut at a whole character, and says so', () => {
    const { message } = sent(new MeshError('tests', 'LONG', 'ABORTED', '😀'.repeat(2000)))
    expect(message).toMatch(/^(😀)+…$/u)
    expect(Buffer.byteLength(message)).toBeLessThanOrEqual(768)
  })

  test('is cut by the encoded size of its parts, not by their text alone', () => {
    const violations = Array.from({ length: 10_000 }, () => ({ field: '', description: '' }))
    const metadata = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [String(index), '']))
    expect(headerBytes(meshErrors.INVALID_REQUEST({ violations, metadata }))).toBeLessThan(8 * 1024)
  })

  test('keeps the first of too many violations, whole', () => {
    const violations = Array.from({ length: 1000 }, (_, index) => ({ field: `field${index}`, description: 'must not be' }))
    const kept = sent(meshErrors.INVALID_REQUEST({ violations })).violations
    expect(kept).toHaveLength(maxViolations)
    expect(kept).toEqual(violations.slice(0, kept.length))
  })

  test('contains nothing of its cause', () => {
    const error = meshErrors.INTERNAL({ cause: new Error('password of the database') })
    const { details, metadata } = toStatus(error)
    expect(`${details}${metadata!.get('grpc-status-details-bin').map(String).join('')}`).not.toContain('password')
    expect(sent(error).cause).toBeUndefined()
  })

  test.each([
    [Number.NaN, undefined],
    [Number.POSITIVE_INFINITY, 2 ** 31 - 1],
    [-5, 0],
    [0.2, 1],
    [1500.5, 1501],
  ])('a wait of %d ms is sent as %d', (ms, expected) => {
    expect(sent(meshErrors.OVERLOADED({ retryAfterMs: ms })).retryAfterMs).toBe(expected)
  })
})

describe('a status from outside the mesh', () => {
  const foreign = (its: number, details: string, trailer?: Buffer) => {
    const metadata = new Metadata()
    if (trailer !== undefined) metadata.set('grpc-status-details-bin', trailer)
    return fromServiceError(Object.assign(new Error(details), { code: its, details, metadata }))
  }

  test.each([
    [14, 'DEPENDENCY_UNAVAILABLE'],
    [4, 'DEADLINE_EXCEEDED'],
    [1, 'CANCELLED'],
    [12, 'UNIMPLEMENTED'],
    [8, 'OVERLOADED'],
    [2, 'INTERNAL'],
    [99, 'INTERNAL'],
  ])('of code %d is %s, and its text stays here', (its, reason) => {
    const error = foreign(its, 'somebody else’s words')
    expect(error).toMatchObject({ domain: 'mesh', reason })
    expect(error.message).not.toContain('somebody else’s words')
  })

  test('is read as such if its details are broken', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => void expect(foreign(14, '', Buffer.from(bytes))).toBeInstanceOf(MeshError)),
    )
  })
})

describe('over a real call', () => {
  let server: TestServer
  let client: TestClient
  let thrown: unknown
  beforeAll(async () => {
    server = await startServer({
      idempotency: {
        complete: async () => {
          throw thrown
        },
      },
    })
    client = connect(server.address)
  })
  afterAll(async () => {
    client.channel.close()
    await server.stop()
  })
  const answered = (error: unknown): Promise<MeshError> => {
    thrown = error
    return failureOf(client.idempotency.complete(requests.complete, ownContext()))
  }

  test('an error arrives with its reason, domain, violations, wait and metadata', async () => {
    const error = new MeshError('tests', 'FULL', 'RESOURCE_EXHAUSTED', 'Es ist voll: ½ 😀 100 %\nversuch es später.', {
      violations: [{ field: 'params.url', description: 'must not be' }],
      retryAfterMs: 1234,
      metadata: { run_id: 'r-1' },
    })
    expect(facts(await answered(error))).toEqual(facts(error))
  })

  test('the largest possible error arrives', async () => {
    const long = '€'.repeat(2000)
    const error = new MeshError('tests', 'LARGE', 'ABORTED', long, {
      violations: Array.from({ length: 1000 }, () => ({ field: long, description: long })),
      metadata: Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`fact${index}`, 'x'.repeat(100)])),
    })
    const arrived = await answered(error)
    expect(arrived).toMatchObject({ reason: 'LARGE', code: 'ABORTED' })
    expect(arrived.violations.length).toBeGreaterThan(0)
    expect(Object.keys(arrived.metadata).length).toBeGreaterThan(5)
  })

  test('half a character does not keep an error from arriving', async () => {
    expect(await answered(new MeshError('tests', 'HALF', 'ABORTED', 'cut in the midst of \ud83d'))).toMatchObject({ reason: 'HALF' })
  })

  test.each([[new Error('password in clear')], ['password in clear'], [undefined], [{ code: 5, details: 'password in clear' }]])(
    'whatever else is thrown is INTERNAL and says nothing of itself: %#',
    async (error) => {
      const arrived = await answered(error)
      expect(arrived).toMatchObject({ domain: 'mesh', reason: 'INTERNAL', code: 'INTERNAL' })
      expect(JSON.stringify(facts(arrived))).not.toContain('password')
    },
  )

  test('details hidden from the caller are in the log', async () => {
    await answered(new Error('the disk is full'))
    expect(server.lines.at(-1)).toMatchObject({ level: 'error', code: 'INTERNAL', err: { message: 'the disk is full' } })
  })
})
