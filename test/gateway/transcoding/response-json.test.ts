import { create, toBinary } from '@bufbuild/protobuf'
import type { DescMessage, JsonValue } from '@bufbuild/protobuf'
import { fromJson } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { StructSchema } from '@bufbuild/protobuf/wkt'
import { GetRunResponse } from '#gen/relay/actions/v1/actions.ts'
import { Struct } from '#gen/google/protobuf/struct.ts'
import { methods } from '#mesh/grpc/descriptors.ts'
import { responseWriter } from '../../../gateway/transcoding/response-json.ts'
import { type FieldWords, Type, contract } from '../contracts.ts'

const inner = { x: { type: Type.INT32 } }
const output = (fields: Record<string, FieldWords>): DescMessage =>
  contract({ Inner: inner, Out: fields }, { Do: { permission: 'a:b', output: 'Out' } }).get('Do')!.descriptor.output

const written = (desc: DescMessage, value: JsonValue) => responseWriter(desc)(toBinary(desc, fromJson(desc, value)))

describe('a response', () => {
  const every = output({
    text: { type: Type.STRING },
    maybe: { type: Type.STRING, optional: true },
    flag: { type: Type.BOOL },
    count: { type: Type.UINT32 },
    signed: { type: Type.SINT32, optional: true },
    ratio: { type: Type.DOUBLE },
    fixed: { type: Type.FIXED32 },
    colour: { type: Type.ENUM, of: 'relay.test.v1.Colour' },
    data: { type: Type.BYTES },
    inner: { type: Type.MESSAGE, of: 'relay.test.v1.Inner' },
    many: { type: Type.MESSAGE, of: 'relay.test.v1.Inner', list: true },
    numbers: { type: Type.INT32, list: true },
    texts: { type: Type.STRING, list: true },
    free: { type: Type.MESSAGE, of: 'google.protobuf.Struct' },
    one: { type: Type.STRING, oneof: 'either' },
    other: { type: Type.MESSAGE, of: 'relay.test.v1.Inner', oneof: 'either' },
  })

  test('says of what it lists the same at every time, whatever was listed in between', () => {
    const listed = fc.array(fc.record({ x: fc.integer({ min: -3, max: 3 }) }), { maxLength: 8 })
    const once = responseWriter(every)
    fc.assert(
      fc.property(listed, fc.array(fc.integer({ min: 0, max: 500 }), { maxLength: 100 }), (many, more) => {
        for (const value of [{ many }, { many: more.map((x) => ({ x })) }, { many }]) {
          expect(once(toBinary(every, fromJson(every, value)))).toBe(written(every, value))
        }
      }),
    )
  })

  test('shows every field, also those that are not there', () => {
    expect(written(every, {})).toBe(
      '{"text":"","maybe":null,"flag":false,"count":0,"signed":null,"ratio":0,"fixed":0,' +
        '"colour":"COLOUR_UNSPECIFIED","data":"","inner":null,"many":[],"numbers":[],"texts":[],"free":null,"one":null,"other":null}',
    )
  })

  test('shows every value as it is', () => {
    const value = {
      text: 'ü"\n',
      maybe: '',
      flag: true,
      count: 4294967295,
      signed: -5,
      ratio: 0.1,
      fixed: 7,
      colour: 'COLOUR_RED',
      data: 'AAEC',
      inner: { x: -1 },
      many: [{ x: 1 }, { x: 0 }],
      numbers: [1, -2, 3],
      texts: ['', 'b'],
      free: { b: [null, { c: 1e21 }], a: -0.5 },
      other: { x: 2 },
    }
    expect(JSON.parse(written(every, value))).toEqual({ ...value, one: null })
  })

  test('tells an optional field that is empty from one that is not there', () => {
    expect(written(output({ a: { type: Type.STRING, optional: true }, b: { type: Type.BOOL, optional: true } }), { a: '', b: false })).toBe(
      '{"a":"","b":false}',
    )
  })

  test('skips fields of a newer contract', () => {
    const newer = output({ a: { type: Type.STRING }, b: { type: Type.STRING }, c: { type: Type.MESSAGE, of: 'relay.test.v1.Inner' } })
    const bytes = toBinary(newer, fromJson(newer, { a: 'x', b: 'y', c: { x: 1 } }))
    expect(responseWriter(output({ a: { type: Type.STRING } }))(bytes)).toBe('{"a":"x"}')
  })

  test('keeps the keys of a struct in the order the service wrote them, numbers too', () => {
    const entry = (key: string) => toBinary(StructSchema, fromJson(StructSchema, { [key]: key }))
    const struct = Buffer.concat(['10', '9', 'b', 'a', ''].map(entry))
    const bytes = Buffer.concat([Buffer.from([(1 << 3) | 2, struct.length]), struct])
    expect(responseWriter(output({ s: { type: Type.MESSAGE, of: 'google.protobuf.Struct' } }))(bytes)).toBe(
      '{"s":{"10":"10","9":"9","b":"b","a":"a","":""}}',
    )
  })

  test('shows any JSON in a struct as it was', () => {
    const write = responseWriter(methods.get('/relay.actions.v1.ActionsService/GetRun')!.descriptor.output)
    const key = fc.string({ unit: 'grapheme' }).filter((each) => each !== '__proto__' && each.isWellFormed())
    const { json } = fc.letrec((tie) => ({
      json: fc.oneof(
        { depthSize: 'small' },
        key,
        fc.double({ noNaN: true, noDefaultInfinity: true }).map((each) => each + 0 || 0),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie('json')),
        fc.dictionary(key, tie('json'), { noNullPrototype: true }),
      ),
    }))
    fc.assert(
      fc.property(fc.dictionary(key, json, { noNullPrototype: true }), (params) => {
        const bytes = GetRunResponse.encode(GetRunResponse.fromPartial({ run: { params }, requestId: 'r' })).finish()
        expect((JSON.parse(write(bytes)) as { run: { params: unknown } }).run.params).toEqual(params)
        expect(Struct.unwrap(Struct.decode(Struct.encode(Struct.wrap(params)).finish()))).toEqual(params)
      }),
    )
  })

  test('that is cut off, or of other types, is an error and no answer', () => {
    const bytes = toBinary(every, fromJson(every, { text: 'hello', count: 3, inner: { x: 5 } }))
    const write = responseWriter(every)
    expect(() => write(bytes.subarray(0, bytes.length - 1))).toThrow()
    expect(() => write(Uint8Array.from([(1 << 3) | 0, 1]))).toThrow()
  })

  test('with a number that JSON cannot represent is an error', () => {
    const desc = output({ ratio: { type: Type.DOUBLE } })
    expect(() => responseWriter(desc)(toBinary(desc, create(desc, { ratio: NaN })))).toThrow('cannot represent')
  })
})

describe('a contract whose responses cannot be shown exactly', () => {
  test.each([
    ['a 64-bit integer', { n: { type: Type.INT64 } }, /64 bits/],
    ['a list of 64-bit integers', { n: { type: Type.UINT64, list: true } }, /64 bits/],
    [
      'a type of protobuf that has a JSON form of its own',
      { n: { type: Type.MESSAGE, of: 'google.protobuf.Duration' } },
      /google.protobuf.Duration has no form/,
    ],
  ] as [string, Record<string, FieldWords>, RegExp][])('is found at the start: %s', (_what, fields, message) => {
    expect(() => responseWriter(output(fields))).toThrow(message)
  })
})
