/**
 * What an exporter of traces sends, decoded by the field numbers of opentelemetry/proto/collector/trace/v1/trace_service.proto and
 * opentelemetry/proto/trace/v1/trace.proto (https://github.com/open-telemetry/opentelemetry-proto), and held to what those files and the
 * data model ask. Pure, and strict: what a lenient collector would mend is refused here.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'

/** Integers stay apart from other numbers: backends keep them as different types. */
type Scalar = string | boolean | { int: bigint } | { double: number } | { bytes: string }
export type AttributeValue = Scalar | AttributeValue[] | Attributes | null
export interface Attributes {
  readonly [name: string]: AttributeValue
}

const kinds = ['INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'] as const
const statuses = ['UNSET', 'OK', 'ERROR'] as const

export interface Link {
  /** 32 lower-case hex digits. */
  traceId: string
  /** 16 lower-case hex digits. */
  spanId: string
  attributes: Attributes
}

export interface Span extends Link {
  /** Undefined for a root. */
  parentId: string | undefined
  name: string
  kind: (typeof kinds)[number]
  /** Nanoseconds since the epoch. */
  start: bigint
  end: bigint
  events: { name: string; at: bigint; attributes: Attributes }[]
  links: Link[]
  status: { code: (typeof statuses)[number]; message: string }
  /** Attributes, events and links that its maker left out. */
  dropped: number
  /** Of the process that made it. */
  resource: Attributes
  /** Of those, service.name. */
  service: string
}

/** Why something is no ExportTraceServiceRequest. */
export class Malformed extends Error {
  override readonly name = 'Malformed'
}

type Reader = InstanceType<typeof BinaryReader>
/** By field number: its wire type, its name, what reads it, and whether it may stand more than once. */
type Fields = Record<number, { type: WireType; read: (reader: Reader) => void; many?: boolean }>

const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const readerOf = (bytes: Uint8Array): Reader => new BinaryReader(bytes, (part) => text.decode(part))

/** Reads a message to its end. Fields that are not named, of another type, or more than once are refused. */
function read(reader: Reader, what: string, fields: Fields): void {
  const seen = new Set<number>()
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag()
    const field = fields[number]
    if (field === undefined) throw new Malformed(`${what} has no field ${number}`)
    if (field.type !== type) throw new Malformed(`field ${number} of ${what} is of wire type ${type}`)
    if (seen.has(number) && field.many !== true) throw new Malformed(`field ${number} of ${what} stands twice`)
    seen.add(number)
    field.read(reader)
  }
  if (reader.pos !== reader.len) throw new Malformed(`${what} does not end where it says`)
}

const { LengthDelimited, Varint, Bit64, Bit32 } = WireType
const inner = (reader: Reader): Reader => readerOf(reader.bytes())
const string = (take: (value: string) => void) => ({ type: LengthDelimited, read: (reader: Reader) => take(reader.string()) })
const uint32 = (take: (value: number) => void) => ({ type: Varint, read: (reader: Reader) => take(reader.uint32()) })
const fixed32 = (take: (value: number) => void) => ({ type: Bit32, read: (reader: Reader) => take(reader.fixed32()) })
const fixed64 = (take: (value: bigint) => void) => ({ type: Bit64, read: (reader: Reader) => take(BigInt(reader.fixed64())) })
const message = (take: (reader: Reader) => void) => ({ type: LengthDelimited, read: (reader: Reader) => take(inner(reader)) })
const messages = (take: (reader: Reader) => void) => ({ ...message(take), many: true })
const bytes = (take: (value: Uint8Array) => void) => ({ type: LengthDelimited, read: (reader: Reader) => take(reader.bytes()) })
const id = (length: number, what: string, take: (value: string) => void) =>
  bytes((value) => {
    if (value.length !== length || value.every((byte) => byte === 0)) throw new Malformed(`${what} is no id of ${length} bytes`)
    take(Buffer.from(value).toString('hex'))
  })

/** The deepest that values nest in this. */
const deepest = 10

function anyValue(reader: Reader, depth = 0): AttributeValue {
  if (depth > deepest) throw new Malformed('a value nests too deep')
  let values = 0
  let value: AttributeValue = null
  const set = (found: AttributeValue): void => {
    values += 1
    value = found
  }
  read(reader, 'AnyValue', {
    1: string(set),
    2: { type: Varint, read: (from) => set(from.bool()) },
    3: { type: Varint, read: (from) => set({ int: BigInt(from.int64()) }) },
    4: { type: Bit64, read: (from) => set({ double: from.double() }) },
    5: message((from) => {
      const list: AttributeValue[] = []
      read(from, 'ArrayValue', { 1: messages((each) => list.push(anyValue(each, depth + 1))) })
      set(list)
    }),
    6: message((from) => {
      const pairs = new Pairs('KeyValueList', depth + 1)
      read(from, 'KeyValueList', { 1: messages((each) => pairs.add(each)) })
      set(pairs.attributes)
    }),
    7: bytes((found) => set({ bytes: Buffer.from(found).toString('hex') })),
  })
  if (values > 1) throw new Malformed('a value is of two types')
  return value
}

/** Attributes: a name stands once. */
class Pairs {
  readonly attributes: Record<string, AttributeValue> = {}
  readonly #of: string
  readonly #depth: number

  constructor(of: string, depth = 0) {
    this.#of = of
    this.#depth = depth
  }

  add(reader: Reader): void {
    let [name, value]: [string, AttributeValue] = ['', null]
    read(reader, 'KeyValue', { 1: string((found) => (name = found)), 2: message((found) => (value = anyValue(found, this.#depth))) })
    if (name === '') throw new Malformed(`an attribute of ${this.#of} has no name`)
    if (Object.hasOwn(this.attributes, name)) throw new Malformed(`${this.#of} has the attribute ${name} twice`)
    if (value === null) throw new Malformed(`the attribute ${name} of ${this.#of} has no value`)
    this.attributes[name] = value
  }
}

function linkOf(reader: Reader): Link {
  const pairs = new Pairs('a link')
  let [traceId, spanId] = ['', '']
  read(reader, 'Link', {
    1: id(16, 'the trace of a link', (found) => (traceId = found)),
    2: id(8, 'the span of a link', (found) => (spanId = found)),
    3: string(() => undefined),
    4: messages((found) => pairs.add(found)),
    5: uint32(() => undefined),
    6: fixed32(() => undefined),
  })
  if (traceId === '' || spanId === '') throw new Malformed('a link without ids')
  return { traceId, spanId, attributes: pairs.attributes }
}

function spanOf(reader: Reader): Omit<Span, 'resource' | 'service'> {
  const pairs = new Pairs('a span')
  const links: Link[] = []
  const events: Span['events'] = []
  let [traceId, spanId, name] = ['', '', '']
  let parentId: string | undefined
  let [kind, code, dropped] = [0, 0, 0]
  let statusMessage = ''
  let [start, end] = [0n, 0n]
  const drop = uint32((count) => (dropped += count))
  read(reader, 'Span', {
    1: id(16, 'trace_id', (found) => (traceId = found)),
    2: id(8, 'span_id', (found) => (spanId = found)),
    3: string(() => undefined),
    // Empty is how some say that there is none.
    4: bytes((found) => {
      if (found.length !== 0 && (found.length !== 8 || found.every((byte) => byte === 0))) throw new Malformed('parent_span_id is no id')
      parentId = found.length === 0 ? undefined : Buffer.from(found).toString('hex')
    }),
    5: string((found) => (name = found)),
    6: uint32((found) => (kind = found)),
    7: fixed64((found) => (start = found)),
    8: fixed64((found) => (end = found)),
    9: messages((found) => pairs.add(found)),
    10: drop,
    11: messages((found) => {
      const event = new Pairs('an event')
      let [at, eventName] = [0n, '']
      read(found, 'Event', {
        1: fixed64((value) => (at = value)),
        2: string((value) => (eventName = value)),
        3: messages((pair) => event.add(pair)),
        4: drop,
      })
      if (at === 0n || eventName === '') throw new Malformed('an event without a time or a name')
      events.push({ name: eventName, at, attributes: event.attributes })
    }),
    12: drop,
    13: messages((found) => links.push(linkOf(found))),
    14: drop,
    15: message((found) => read(found, 'Status', { 2: string((value) => (statusMessage = value)), 3: uint32((value) => (code = value)) })),
    16: fixed32(() => undefined),
  })
  if (traceId === '' || spanId === '') throw new Malformed('a span without ids')
  if (name === '') throw new Malformed(`the span ${spanId} has no name`)
  if (start === 0n || end < start) throw new Malformed(`the span ${name} ends before it starts`)
  if (parentId === spanId) throw new Malformed(`the span ${name} is its own parent`)
  // 0 is "unspecified", which no maker may say.
  const [kindName, status] = [kinds[kind - 1], statuses[code]]
  if (kindName === undefined) throw new Malformed(`the span ${name} is of kind ${kind}`)
  if (status === undefined) throw new Malformed(`the span ${name} has the status ${code}`)
  if (statusMessage !== '' && status !== 'ERROR') throw new Malformed(`the span ${name} describes a status that is no error`)
  const { attributes } = pairs
  const ids = { traceId, spanId, parentId }
  return { ...ids, name, kind: kindName, start, end, attributes, events, links, status: { code: status, message: statusMessage }, dropped }
}

/** The spans of an ExportTraceServiceRequest. Throws Malformed for whatever is none. */
export function spansIn(request: Uint8Array): Span[] {
  const spans: Span[] = []
  try {
    read(readerOf(request), 'ExportTraceServiceRequest', { 1: messages((of) => spans.push(...resourceSpansIn(of))) })
  } catch (error) {
    // The reader has errors of its own for what is cut off or no UTF-8.
    throw error instanceof Malformed ? error : new Malformed('no protobuf', { cause: error })
  }
  return spans
}

function resourceSpansIn(reader: Reader): Span[] {
  const resource = new Pairs('a resource')
  const spans: ReturnType<typeof spanOf>[] = []
  read(reader, 'ResourceSpans', {
    1: message((found) => read(found, 'Resource', { 1: messages((pair) => resource.add(pair)), 2: uint32(() => undefined) })),
    2: messages((found) =>
      read(found, 'ScopeSpans', {
        1: message((from) =>
          read(from, 'InstrumentationScope', {
            1: string(() => undefined),
            2: string(() => undefined),
            // Ours has none.
          }),
        ),
        2: messages((from) => spans.push(spanOf(from))),
        3: string(() => undefined),
      }),
    ),
    3: string(() => undefined),
  })
  const service = resource.attributes['service.name']
  if (typeof service !== 'string') throw new Malformed('a resource without service.name')
  return spans.map((span) => ({ ...span, resource: resource.attributes, service }))
}
