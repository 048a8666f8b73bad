/** An attachment of a mail: its content, and its real type by its first bytes. Pure. */
import { isUtf8 } from 'node:buffer'
import { z } from 'zod'
import { plainName } from './plain-text.ts'

/** Maximum size of all attachments of a mail together, in bytes; the base64 of more would not fit into a request. */
export const maxAttachmentBytes = 640 * 1024
const maxAttachments = 10

interface Kind {
  type: string
  /** Aliases, and formats built upon it: such a file begins in the same way. */
  alsoTypes?: RegExp
  /** Its first bytes, and their position. */
  magic: Buffer
  at?: number
  /** White space may precede them. */
  afterSpace?: boolean
  /** A container for many formats, more than any list has: it contradicts no type without a signature of its own. */
  container?: boolean
}

const bytes = (text: string) => Buffer.from(text, 'latin1')

/** https://mimesniff.spec.whatwg.org/, and types that may harm a person who opens them. */
const kinds: readonly Kind[] = [
  { type: 'application/pdf', alsoTypes: /^application\/x-pdf$/, magic: bytes('%PDF-'), afterSpace: true },
  { type: 'image/png', alsoTypes: /^image\/(?:x-png|apng|vnd\.mozilla\.apng)$/, magic: bytes('\x89PNG\r\n\x1a\n') },
  { type: 'image/jpeg', alsoTypes: /^image\/(?:jpg|pjpeg|jfif)$/, magic: bytes('\xff\xd8\xff') },
  { type: 'image/gif', magic: bytes('GIF8') },
  { type: 'image/webp', magic: bytes('WEBP'), at: 8 },
  {
    type: 'application/zip',
    alsoTypes:
      /\+zip$|^application\/(?:vnd\.(?:openxmlformats-officedocument|oasis\.opendocument)\.|vnd\.ms-\w+\.\w+\.macroenabled|java-archive$|x-zip)|^model\/3mf$/,
    magic: bytes('PK\x03\x04'),
    container: true,
  },
  // Without a single file in it.
  { type: 'application/zip', alsoTypes: /^application\/x-zip/, magic: bytes('PK\x05\x06'), container: true },
  {
    type: 'application/gzip',
    alsoTypes: /\+gzip$|^application\/x-(?:gzip|gtar|compressed-tar|tgz)$/,
    magic: bytes('\x1f\x8b\x08'),
    container: true,
  },
  // Office before 2007 (MS-CFB), and Office since then if a password protects it.
  {
    type: 'application/x-ole-storage',
    alsoTypes: /openxmlformats-officedocument/,
    magic: bytes('\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1'),
    container: true,
  },
  {
    type: 'application/x-msdownload',
    alsoTypes: /^application\/(?:vnd\.microsoft\.portable-executable|x-dosexec|x-msdos-program)$/,
    magic: bytes('MZ'),
  },
  { type: 'application/x-executable', alsoTypes: /^application\/x-(?:elf|sharedlib|object)$/, magic: bytes('\x7fELF') },
]

/** A reader looks for a PDF's signature no further (ISO 32000, Annex H.3.4.1). */
const maxSpace = 1024

function begins({ magic, at = 0, afterSpace }: Kind, content: Buffer): boolean {
  let from = at
  while (afterSpace === true && from < maxSpace && [0, 9, 10, 12, 13, 32].includes(content[from] ?? -1)) from += 1
  return content.subarray(from, from + magic.length).equals(magic)
}

const isOf = ({ type, alsoTypes }: Kind, declared: string) => type === declared || alsoTypes?.test(declared) === true

const isText = (declared: string) => declared.startsWith('text/') || declared === 'application/json'

/** Why the content is not of the declared type; undefined if nothing contradicts it. A type without a signature is accepted. */
export function contradiction(declared: string, content: Buffer): string | undefined {
  // "MZ" and similar may begin any text; a text is recognised by all of its bytes.
  if (isText(declared)) return isUtf8(content) && !content.includes(0) ? undefined : 'is declared as text, but is not text in UTF-8'
  // It says only that these are bytes.
  if (declared === 'application/octet-stream') return undefined
  const found = kinds.find((kind) => begins(kind, content))
  if (found !== undefined && isOf(found, declared)) return undefined
  if (kinds.some((kind) => isOf(kind, declared)))
    return found === undefined ? `is not ${declared} by its content` : `is ${found.type} by its content, not ${declared}`
  const mayContain = found?.container === true && !/^(?:image|audio|video|font)\//.test(declared)
  return found === undefined || mayContain ? undefined : `is ${found.type} by its content, not ${declared}`
}

const content = z
  .string()
  .max(Math.ceil(maxAttachmentBytes / 3) * 4, 'is too large for a mail sent from here')
  // Decoding ignores characters that are not base64: only content that encodes to the same text was base64.
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
      // RFC 2046, 5: a mail program would parse a part of these types, not show it as a file.
      .refine((type) => !/^(?:multipart|message)\//.test(type), 'may not be a message or a multipart')
      .describe('Its media type; the content must agree with it.'),
    content,
  })
  .superRefine((file, context) => {
    const message = contradiction(file.content_type, Buffer.from(file.content, 'base64'))
    if (message !== undefined) context.addIssue({ code: 'custom', path: ['content'], message })
  })

export type Attachment = z.output<typeof attachment>

/** The type as it is sent: a text has its charset, or its reader guesses one. */
export const typeSent = ({ content_type: type }: Pick<Attachment, 'content_type'>): string =>
  type.startsWith('text/') ? `${type}; charset=utf-8` : type

export const sizeOf = ({ content: text }: Attachment): number => Buffer.byteLength(text, 'base64')

export const attachments = z
  .array(attachment)
  .max(maxAttachments)
  .refine((files) => files.reduce((sum, file) => sum + sizeOf(file), 0) <= maxAttachmentBytes, {
    message: `are larger than ${maxAttachmentBytes / 1024} KiB together`,
    when: ({ issues }) => issues.length === 0,
  })
