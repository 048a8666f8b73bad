/**
 * Message bytes → JSON text, in one pass, without an object in between.
 *
 * The shape is Relay's own, not protobuf's JSON mapping: keys in snake_case in the order of the field numbers, every field present, null if
 * it is optional and absent, empty lists and strings included. A google.protobuf.Struct keeps the order of its keys, as the service wrote
 * them; an object in between would move keys that look like numbers to the front.
 *
 * A field that JSON cannot hold exactly (64-bit integers, which JavaScript clients would round) stops the process at its start.
 */
import { type DescEnum, type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf'
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'

/** Reads one message, from the reader's position to `end`. */
type Read = (reader: Reader, end: number) => string

/** The writer of one response type. It throws an Error for bytes that are not such a message. */
export function responseWriter(message: DescMessage): (bytes: Uint8Array) => string {
  const read = compile(message, new Map())
  return (bytes) => read(new Reader(bytes), bytes.length)
}

class Reader extends BinaryReader {
  readonly source: Buffer

  constructor(bytes: Uint8Array) {
    super(bytes)
    this.source = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }
}

const maxRemembered = 64
const maxRememberedLength = 4096

/**
 * Reads the messages of a list and caches their texts by their bytes: most entries are listed repeatedly, e.g. the actions, and a cache hit
 * costs a tenth of reading the entry.
 */
function remembering(read: Read): Read {
  const texts = new Map<string, string>()
  return (reader, end) => {
    if (end - reader.pos > maxRememberedLength) return read(reader, end)
    const key = reader.source.toString('latin1', reader.pos, end)
    const known = texts.get(key)
    if (known !== undefined) {
      reader.pos = end
      return known
    }
    const text = read(reader, end)
    if (texts.size >= maxRemembered) texts.clear()
    texts.set(key, text)
    return text
  }
}

function compile(message: DescMessage, known: Map<DescMessage, Read>): Read {
  const existing = known.get(message)
  if (existing !== undefined) return existing
  const special = specials.get(message.typeName)
  if (special !== undefined) return special
  if (message.typeName.startsWith('google.protobuf.')) throw new Error(`${message.typeName} has no form in a public response`)
  let read: Read = () => ''
  // Set before its fields are read, because they may be of the same type.
  known.set(message, (reader, end) => read(reader, end))
  read = compileFields(message, known)
  known.set(message, read)
  return read
}

interface FieldReader {
  /** The text before the value. */
  key: string
  /** The value of a field that is not in the bytes. */
  absent: string
  list: boolean
  wireType: WireType
  value(reader: Reader): string
}

function compileFields(message: DescMessage, known: Map<DescMessage, Read>): Read {
  const fields = message.fields.toSorted((one, other) => one.number - other.number)
  const readers = fields.map((field, index) => fieldReader(field, index === 0 ? '{' : ',', known))
  const byNumber = new Map(fields.map((field, index) => [field.number, index]))
  if (fields.length === 0) {
    return (reader, end) => {
      reader.pos = end
      return '{}'
    }
  }
  return (reader, end) => {
    const values: (string | undefined)[] = Array.from({ length: readers.length })
    while (reader.pos < end) {
      const tag = reader.uint32()
      const index = byNumber.get(tag >>> 3)
      const wireType = tag & 7
      // From a newer contract than this one.
      if (index === undefined) reader.skip(wireType, tag >>> 3)
      else readField(readers[index]!, reader, wireType, values, index)
    }
    let text = ''
    for (let index = 0; index < readers.length; index += 1) {
      const { key, absent, list } = readers[index]!
      const value = values[index]
      text += value === undefined ? key + absent : list ? `${key}[${value}]` : key + value
    }
    return `${text}}`
  }
}

function readField(field: FieldReader, reader: Reader, wireType: WireType, values: (string | undefined)[], index: number): void {
  if (wireType === field.wireType) {
    const value = field.value(reader)
    const before = values[index]
    values[index] = field.list && before !== undefined ? `${before},${value}` : value
  } else if (field.list && wireType === WireType.LengthDelimited) {
    // Numbers of a list, packed.
    const end = reader.uint32() + reader.pos
    while (reader.pos < end) readField(field, reader, field.wireType, values, index)
  } else throw new Error(`wire type ${wireType} where ${field.key} has ${field.wireType}`)
}

function fieldReader(field: DescField, before: string, known: Map<DescMessage, Read>): FieldReader {
  const list = field.fieldKind === 'list'
  if (field.fieldKind === 'map')
    throw new Error(`${field.toString()} is a map, which has no form in a public response: use google.protobuf.Struct`)
  const common = { key: `${before}${JSON.stringify(field.name)}:`, list }
  // LEGACY_REQUIRED and EXPLICIT presence: set or not is a difference.
  const optional = field.presence !== implicit
  const absent = (zero: string) => (list ? '[]' : optional ? 'null' : zero)
  if (field.message !== undefined) {
    const read = list ? remembering(compile(field.message, known)) : compile(field.message, known)
    const value = (reader: Reader) => {
      const length = reader.uint32()
      return read(reader, reader.pos + length)
    }
    return { ...common, wireType: WireType.LengthDelimited, absent: absent('null'), value }
  }
  if (field.enum !== undefined) {
    const name = enumName(field.enum)
    return { ...common, wireType: WireType.Varint, absent: absent(name(0)), value: (reader) => name(reader.int32()) }
  }
  const scalar = scalars.get(field.scalar)
  if (scalar === undefined)
    throw new Error(`${field.toString()} has 64 bits, more than a JavaScript number can hold: use another type in public responses`)
  return { ...common, wireType: scalar.wireType, absent: absent(scalar.zero), value: scalar.value }
}

const implicit = 2

function enumName(desc: DescEnum): (value: number) => string {
  const names = new Map(desc.values.map(({ number, name }) => [number, JSON.stringify(name)]))
  return (value) => names.get(value) ?? String(value)
}

function finite(value: number): string {
  if (!Number.isFinite(value)) throw new Error('a number that JSON cannot represent')
  return String(value === 0 ? 0 : value)
}

interface Scalar {
  wireType: WireType
  zero: string
  value(reader: Reader): string
}

const scalars = new Map<ScalarType, Scalar>([
  [ScalarType.STRING, { wireType: WireType.LengthDelimited, zero: '""', value: (reader) => JSON.stringify(reader.string()) }],
  [
    ScalarType.BYTES,
    { wireType: WireType.LengthDelimited, zero: '""', value: (reader) => `"${Buffer.from(reader.bytes()).toString('base64')}"` },
  ],
  [ScalarType.BOOL, { wireType: WireType.Varint, zero: 'false', value: (reader) => (reader.bool() ? 'true' : 'false') }],
  [ScalarType.INT32, { wireType: WireType.Varint, zero: '0', value: (reader) => String(reader.int32()) }],
  [ScalarType.UINT32, { wireType: WireType.Varint, zero: '0', value: (reader) => String(reader.uint32()) }],
  [ScalarType.SINT32, { wireType: WireType.Varint, zero: '0', value: (reader) => String(reader.sint32()) }],
  [ScalarType.FIXED32, { wireType: WireType.Bit32, zero: '0', value: (reader) => String(reader.fixed32()) }],
  [ScalarType.SFIXED32, { wireType: WireType.Bit32, zero: '0', value: (reader) => String(reader.sfixed32()) }],
  [ScalarType.FLOAT, { wireType: WireType.Bit32, zero: '0', value: (reader) => finite(reader.float()) }],
  [ScalarType.DOUBLE, { wireType: WireType.Bit64, zero: '0', value: (reader) => finite(reader.double()) }],
])

/** Reads the fields of a message by number: shared by the hand-written readers below. */
function each(reader: Reader, end: number, field: (number: number, wireType: WireType) => boolean): void {
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (!field(tag >>> 3, tag & 7)) reader.skip(tag & 7, tag >>> 3)
  }
}

const within = (reader: Reader, read: Read): string => {
  const length = reader.uint32()
  return read(reader, reader.pos + length)
}

/** google.protobuf.Struct: map<string, Value> fields = 1. */
function readStruct(reader: Reader, end: number): string {
  let text = ''
  each(reader, end, (number) => {
    if (number !== 1) return false
    text += (text === '' ? '' : ',') + within(reader, readEntry)
    return true
  })
  return `{${text}}`
}

function readEntry(reader: Reader, end: number): string {
  let [key, value] = ['""', 'null']
  each(reader, end, (number) => {
    if (number === 1) key = JSON.stringify(reader.string())
    else if (number === 2) value = within(reader, readValue)
    return number === 1 || number === 2
  })
  return `${key}:${value}`
}

/** google.protobuf.Value: null 1, number 2, string 3, bool 4, struct 5, list 6. */
function readValue(reader: Reader, end: number): string {
  let text = 'null'
  each(reader, end, (number) => {
    if (number === 1) {
      reader.int32()
      text = 'null'
    } else if (number === 2) text = finite(reader.double())
    else if (number === 3) text = JSON.stringify(reader.string())
    else if (number === 4) text = reader.bool() ? 'true' : 'false'
    else if (number === 5) text = within(reader, readStruct)
    else if (number === 6) text = within(reader, readList)
    else return false
    return true
  })
  return text
}

/** google.protobuf.ListValue: repeated Value values = 1. */
function readList(reader: Reader, end: number): string {
  let text = ''
  each(reader, end, (number) => {
    if (number !== 1) return false
    text += (text === '' ? '' : ',') + within(reader, readValue)
    return true
  })
  return `[${text}]`
}

const specials = new Map<string, Read>([
  ['google.protobuf.Struct', readStruct],
  ['google.protobuf.Value', readValue],
  ['google.protobuf.ListValue', readList],
])
