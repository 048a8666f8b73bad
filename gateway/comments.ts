/** What the contracts say in their comments, read from the source information in the descriptor image. Pure. */
import type { DescEnum, DescField, DescMessage, DescMethod, DescService } from '@bufbuild/protobuf'

type Described = DescMessage | DescField | DescMethod | DescService | DescEnum

/** The comment before a declaration, its lines joined to a paragraph; empty where there is none. */
export function commentOf(desc: Described): string {
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
