/** A file that goes along with a mail: its content itself, and what it really is by its first bytes. Pure. */
import { isUtf8 } from 'node:buffer'
import { z } from 'zod'
import { plainName } from './plain-text.ts'

/** All attachments of a mail together, in bytes; base64 of more would not fit into a request. */
export const mostAttachmentBytes = 640 * 1024
const mostAttachments = 10

interface Kind {
  type: string
  /** What the file may be called all the same, because it is built upon that kind. */
  alsoTypes?: RegExp
  /** Its first bytes, and where they stand. */
  magic: Buffer
  at?: number
}

const bytes = (text: string) => Buffer.from(text, 'latin1')

/** https://mimesniff.spec.whatwg.org/, and what may harm whoever opens it. */
const kinds: readonly Kind[] = [
  { type: 'application/pdf', magic: bytes('%PDF-') },
  { type: 'image/png', magic: bytes('\x89PNG\r\n\x1a\n') },
  { type: 'image/jpeg', magic: bytes('\xff\xd8\xff') },
  { type: 'image/gif', magic: bytes('GIF8') },
  { type: 'image/webp', magic: bytes('WEBP'), at: 8 },
  {
    type: 'application/zip',
    alsoTypes: /^application\/(?:vnd\.(?:openxmlformats-officedocument|oasis\.opendocument)\.|vnd\.ms-\w+\.\w+\.macroenabled|epub\+zip$|java-archive$|x-zip)/,
    magic: bytes('PK\x03\x04'),
  },
  { type: 'application/gzip', alsoTypes: /^application\/x-(?:gzip|gtar|compressed-tar|tgz)$/, magic: bytes('\x1f\x8b\x08') },
  { type: 'application/x-msdownload', alsoTypes: /^application\/(?:vnd\.microsoft\.portable-executable|x-dosexec|x-msdos-program)$/, magic: bytes('MZ') },
  { type: 'application/x-executable', alsoTypes: /^application\/x-(?:elf|sharedlib|object)$/, magic: bytes('\x7fELF') },
]

/** Why the content is not of the type that is declared; undefined where nothing speaks against it. A type without a mark of its own is believed. */
export function contradiction(declared: string, content: Buffer): string | undefined {
  const found = kinds.find(({ magic, at = 0 }) => content.subarray(at, at + magic.length).equals(magic))
  const text = declared.startsWith('text/') || declared === 'application/json'
  // "MZ" and the like may begin any text; a text is one by all of its bytes.
  if (text) return isUtf8(content) && !content.includes(0) ? undefined : 'is declared as text, but is not text in UTF-8'
  if (found !== undefined && found.type !== declared && found.alsoTypes?.test(declared) !== true) return `is ${found.type} by its content, not ${declared}`
  const expected = kinds.find(({ type, alsoTypes }) => type === declared || alsoTypes?.test(declared))
  return expected !== undefined && expected !== found ? `is not ${declared} by its content` : undefined
}

const content = z
  .string()
  .max(Math.ceil(mostAttachmentBytes / 3) * 4, 'is too large for a mail sent from here')
  // Decoding drops what is not base64: only what encodes to the same text was base64 to begin with.
  .refine((text) => Buffer.from(text, 'base64').toString('base64') === text, 'is not base64 with padding (RFC 4648, section 4)')
  .describe('The file itself, in base64 (RFC 4648, section 4).')

export const attachment = z
  .strictObject({
    filename: plainName(200)
      .refine((name) => !/[/\\]/.test(name) && !/^\.+$/.test(name), 'is a plain file name, without a path')
      .describe('The name that the recipient sees.'),
    content_type: z
      .string()
      .max(127)
      .toLowerCase()
      .regex(/^[a-z0-9][a-z0-9!#$&^_.+-]*\/[a-z0-9][a-z0-9!#$&^_.+-]*$/, 'is not a media type such as application/pdf')
      // RFC 2046, 5: a part of these types would be taken apart by the reader's program, not shown as a file.
      .refine((type) => !/^(?:multipart|message)\//.test(type), 'may not be a message or a multipart')
      .describe('Its media type; the content must agree with it.'),
    content,
  })
  .superRefine((file, context) => {
    const message = contradiction(file.content_type, Buffer.from(file.content, 'base64'))
    if (message !== undefined) context.addIssue({ code: 'custom', path: ['content'], message })
  })

export type Attachment = z.output<typeof attachment>

export const sizeOf = ({ content: text }: Attachment): number => Buffer.byteLength(text, 'base64')

export const attachments = z
  .array(attachment)
  .max(mostAttachments)
  .refine((files) => files.reduce((sum, file) => sum + sizeOf(file), 0) <= mostAttachmentBytes, {
    message: `are larger than ${mostAttachmentBytes / 1024} KiB together`,
    when: ({ issues }) => issues.length === 0,
  })
