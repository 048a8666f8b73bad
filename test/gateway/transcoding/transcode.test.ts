import { fromBinary, toJson } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import type { MeshError } from '#mesh/errors.ts'
import { methodOf } from '#mesh/grpc/descriptors.ts'
import { routesOf } from '../../../gateway/contract/route-table.ts'
import { type HttpRequest, requestReader } from '../../../gateway/transcoding/transcode.ts'
import { type Rule, Type, contract } from '../contracts.ts'

type Words = Partial<Omit<HttpRequest, 'body'>> & { body?: unknown }

/** Reads a request by a method of the contracts; gives the message as protobuf's JSON has it. */
function reader(methods: Parameters<typeof routesOf>[0]) {
  const route = routesOf(methods)[0]!
  const read = requestReader(route)
  return ({ body, ...words }: Words) => {
    const bytes = body === undefined ? undefined : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
    return toJson(
      route.method.descriptor.input,
      fromBinary(route.method.descriptor.input, read({ params: {}, query: '', headers: {}, ...words, body: bytes })),
      {
        useProtoFieldName: true,
      },
    )
  }
}

function refused(read: () => unknown): Record<string, string> {
  try {
    read()
  } catch (error) {
    const { reason, violations, message } = error as MeshError
    expect(['INVALID_REQUEST', 'INVALID_JSON']).toContain(reason)
    if (violations.length > 0) expect(message).toContain(violations[0]!.field)
    return Object.fromEntries(violations.map(({ field, description }) => [field, description]))
  }
  throw new Error('was accepted')
}

const actions = (name: string) => reader([methodOf(`/relay.actions.v1.ActionsService/${name}`)])
const [preview, execute, list, get] = [actions('PreviewAction'), actions('ExecuteAction'), actions('ListRuns'), actions('GetRun')]

describe('a body', () => {
  test('fills the message, keys in snake_case', () => {
    expect(preview({ body: { action: 'webhook.save', params: { url: 'x', list: [1, { a: null }] } } })).toEqual({
      action: 'webhook.save',
      params: { url: 'x', list: [1, { a: null }] },
    })
  })

  test('is refused for every field that is wrong, each by name', () => {
    expect(refused(() => preview({ body: { action: 5, params: 'x', extra: 1 } }))).toEqual({
      action: 'must be a string',
      params: 'must be an object',
      extra: 'is not a field of this request',
    })
  })

  test('is refused where a field comes twice, by both of its names', () => {
    expect(refused(() => execute({ body: { preview_id: 'a', previewId: 'a' } }))).toEqual({
      previewId: 'is given twice, by both of its names',
    })
  })

  test('is held to the rules of the contract', () => {
    expect(Object.keys(refused(() => preview({ body: { params: {} } })))).toEqual(['action'])
    expect(Object.keys(refused(() => preview({ body: { action: 'x'.repeat(101) } })))).toEqual(['action'])
    expect(Object.keys(refused(() => execute({ body: { preview_id: null } })))).toEqual(['preview_id'])
  })

  test('is wanted where the route has one, and refused where it has none', () => {
    expect(refused(() => preview({}))).toEqual({})
    expect(refused(() => list({ body: {} }))).toEqual({ '': 'this request takes no body' })
  })

  test('may be as deep as JSON may', () => {
    let params: Record<string, unknown> = { n: 1 }
    for (let level = 0; level < 30; level += 1) params = { a: params }
    expect(preview({ body: { action: 'a', params } })).toEqual({ action: 'a', params })
    expect(Object.keys(refused(() => preview({ body: { action: 'a', params: { a: params } } })))).toHaveLength(1)
  })
})

describe('a field that comes from a header', () => {
  test('is filled from it', () => {
    expect(execute({ body: { preview_id: 'p' }, headers: { 'idempotency-key': 'k 1' } })).toEqual({
      preview_id: 'p',
      idempotency_key: 'k 1',
    })
  })

  test('stays unset without it', () => {
    expect(execute({ body: { preview_id: 'p' } })).toEqual({ preview_id: 'p' })
  })

  test.each([['idempotency_key'], ['idempotencyKey']])('is refused in the body, as %s', (name) => {
    expect(refused(() => execute({ body: { preview_id: 'p', [name]: 'k' } }))).toEqual({
      [name]: 'comes from the header Idempotency-Key, not from the body',
    })
  })

  test.each([[''], ['ü'], ['x'.repeat(256)]])('is refused as %j, by the name of the header', (value) => {
    expect(Object.keys(refused(() => execute({ body: { preview_id: 'p' }, headers: { 'idempotency-key': value } })))).toEqual([
      'Idempotency-Key',
    ])
  })
})

describe('a query', () => {
  test('fills the fields that are nowhere else, by their types', () => {
    expect(list({ query: 'page_size=20&page_token=a%2Fb+c&status=failed' })).toEqual({
      page_size: 20,
      page_token: 'a/b c',
      status: 'failed',
    })
    expect(list({ query: '' })).toEqual({})
  })

  test.each([
    ['page_size=20&colour=red', 'colour', 'is not a query parameter of this request'],
    ['pageSize=20', 'pageSize', 'is not a query parameter of this request'],
    ['__proto__=1', '__proto__', 'is not a query parameter of this request'],
    ['page_size=1&page_size=2', 'page_size', 'is given more than once'],
    ['page_size=ten', 'page_size', 'must be a whole number from 0 to 4294967295'],
    ['page_size=', 'page_size', 'must be a whole number from 0 to 4294967295'],
    ['page_size=-1', 'page_size', 'must be a whole number from 0 to 4294967295'],
    ['page_size=0x10', 'page_size', 'must be a whole number from 0 to 4294967295'],
    ['page_size=1.5', 'page_size', 'must be a whole number from 0 to 4294967295'],
    ['page_token=a%00b', 'page_token', 'holds the character NUL (%00), which text cannot contain'],
  ])('%s is refused', (query, field, description) => {
    expect(refused(() => list({ query }))).toEqual({ [field]: description })
  })

  test('is held to the rules of the contract', () => {
    expect(Object.keys(refused(() => list({ query: 'page_size=201' })))).toEqual(['page_size'])
    expect(Object.keys(refused(() => list({ query: 'status=nearly' })))).toEqual(['status'])
  })

  test('with broken percent-encoding is no URL', () => {
    expect(() => list({ query: 'page_token=%zz' })).toThrow(expect.objectContaining({ reason: 'INVALID_URL' }))
    expect(() => list({ query: 'page_token=%ff' })).toThrow(expect.objectContaining({ reason: 'INVALID_URL' }))
  })

  test('beside a body that is everything is refused', () => {
    expect(refused(() => preview({ query: 'action=b', body: { action: 'a' } }))).toEqual({
      action: 'is not a query parameter of this request',
    })
  })
})

describe('a variable of the path', () => {
  const id = '3a033cc1-0000-4000-8000-000000000002'
  test('fills its field', () => {
    expect(get({ params: { p2: id } })).toEqual({ run_id: id })
  })

  test('is held to the rules of the contract', () => {
    expect(Object.keys(refused(() => get({ params: { p2: 'nonsense' } })))).toEqual(['run_id'])
  })

  test('is refused in the query', () => {
    expect(refused(() => get({ params: { p2: id }, query: `run_id=${id}` }))).toEqual({ run_id: 'comes from the path, not from the query' })
  })
})

describe('other contracts', () => {
  const messages = {
    Inner: { flag: { type: Type.BOOL }, colour: { type: Type.ENUM, of: 'relay.test.v1.Colour' }, ratio: { type: Type.DOUBLE } },
    In: {
      id: { type: Type.STRING },
      inner: { type: Type.MESSAGE, of: 'relay.test.v1.Inner' },
      names: { type: Type.STRING, list: true },
      many: { type: Type.MESSAGE, of: 'relay.test.v1.Inner', list: true },
      data: { type: Type.BYTES },
    },
  }
  const read = (rule: Rule) => reader(contract(messages, { Do: { permission: 'a:b', input: 'In', rule } }).values())
  const plain = read({ pattern: { case: 'get', value: '/a' } })
  const field = read({ pattern: { case: 'post', value: '/a/{id}' }, body: 'inner' })
  const all = read({ pattern: { case: 'put', value: '/a/{id}' }, body: '*' })

  test('have query parameters within messages, and lists', () => {
    expect(plain({ query: 'inner.flag=true&inner.colour=COLOUR_RED&names=a&names=b&inner.ratio=-0.5' })).toEqual({
      inner: { flag: true, colour: 'COLOUR_RED', ratio: -0.5 },
      names: ['a', 'b'],
    })
  })

  test('refuse by path what is wrong within', () => {
    expect(refused(() => plain({ query: 'inner.flag=yes&inner.colour=BLUE' }))).toEqual({
      'inner.flag': 'must be true or false',
      'inner.colour': 'must be one of COLOUR_UNSPECIFIED, COLOUR_RED',
    })
    expect(refused(() => plain({ query: 'inner=1&many=2' }))).toEqual({
      inner: 'cannot be given in a query',
      many: 'cannot be given in a query',
    })
    expect(refused(() => all({ params: { p1: 'x' }, body: { many: [{}, { ratio: 'much' }, 3], names: 'a' } }))).toEqual({
      'many.1.ratio': 'must be a number',
      names: 'must be a list, each a string',
    })
    expect(refused(() => all({ params: { p1: 'x' }, body: { many: [3], data: '!' } }))).toEqual({
      many: 'must be a list, each an object',
      data: 'must be base64 text',
    })
  })

  test('may have a body that is one field, and a query beside it', () => {
    expect(field({ params: { p1: 'x' }, query: 'names=a', body: { flag: true } })).toEqual({ id: 'x', names: ['a'], inner: { flag: true } })
    expect(refused(() => field({ params: { p1: 'x' }, query: 'inner.flag=true', body: {} }))).toEqual({
      'inner.flag': 'is not a query parameter of this request',
    })
  })

  test('do not take from the body what the path says', () => {
    expect(refused(() => all({ params: { p1: 'x' }, body: { id: 'y' } }))).toEqual({ id: 'comes from the path, not from the body' })
  })
})
