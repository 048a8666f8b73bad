/**
 * What the contracts say in their comments, taken out of the source information of a descriptor image. Processes load an image without it:
 * parsed, it is a third of the whole, and only the OpenAPI document quotes it.
 */
import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescService,
  createFileRegistry,
  fromBinary,
} from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'

type Described = DescMessage | DescField | DescMethod | DescService | DescEnum

/** The comments of our own contracts by full name (relay.actions.v1.Run.status), each a paragraph; what has none is left out. */
export function commentsOf(image: Uint8Array): Record<string, string> {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image))
  const described = [...registry].flatMap((each): Described[] => {
    if (each.kind === 'message') return [each, ...each.fields]
    if (each.kind === 'service') return [each, ...each.methods]
    return each.kind === 'enum' ? [each] : []
  })
  const entries = described.map((desc) => [nameOf(desc), commentOf(desc)] as const)
  return Object.fromEntries(entries.filter(([name, comment]) => name.startsWith('relay.') && comment !== '').sort())
}

const nameOf = (desc: Described): string =>
  desc.kind === 'field' || desc.kind === 'rpc' ? `${desc.parent.typeName}.${desc.name}` : desc.typeName

function commentOf(desc: Described): string {
  const file = desc.kind === 'field' || desc.kind === 'rpc' ? desc.parent.file : desc.file
  const path = pathOf(desc).join('.')
  const found = file.proto.sourceCodeInfo?.location.find((location) => location.path.join('.') === path)
  return (found?.leadingComments ?? '')
    .split('\n')
    .map((line) => line.trim())
    .join(' ')
    .trim()
}

/** Field numbers of descriptor.proto, which locations are addressed by. */
const part = { messages: 4, enums: 5, services: 6, nested: 3, fields: 2, methods: 2, nestedEnums: 4 }

function pathOf(desc: Described): number[] {
  switch (desc.kind) {
    case 'field':
      return [...pathOf(desc.parent), part.fields, desc.parent.fields.indexOf(desc)]
    case 'rpc':
      return [...pathOf(desc.parent), part.methods, desc.parent.methods.indexOf(desc)]
    case 'service':
      return [part.services, desc.file.services.indexOf(desc)]
    case 'message':
      return desc.parent === undefined
        ? [part.messages, desc.file.messages.indexOf(desc)]
        : [...pathOf(desc.parent), part.nested, desc.parent.nestedMessages.indexOf(desc)]
    case 'enum':
      return desc.parent === undefined
        ? [part.enums, desc.file.enums.indexOf(desc)]
        : [...pathOf(desc.parent), part.nestedEnums, desc.parent.nestedEnums.indexOf(desc)]
  }
}
