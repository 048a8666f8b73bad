/** The comments of the contracts (proto/gen/comments.json), by full name. */
import { readFileSync } from 'node:fs'
import type { DescEnum, DescField, DescMessage, DescMethod, DescService } from '@bufbuild/protobuf'

const file = new URL('../../proto/gen/comments.json', import.meta.url)
const comments = JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, string>>

/** The comment before a declaration as one paragraph; empty if there is none. */
export function commentOf(desc: DescMessage | DescField | DescMethod | DescService | DescEnum): string {
  const name = desc.kind === 'field' || desc.kind === 'rpc' ? `${desc.parent.typeName}.${desc.name}` : desc.typeName
  return comments[name] ?? ''
}
