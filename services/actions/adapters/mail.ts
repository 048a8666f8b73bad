/**
 * A mail: parameters that are shown as what they are, and the bytes (RFC 5322) that they become. Pure except for the composer, which reads
 * no file and opens no URL.
 *
 * No parameter is a header: each is an address, a line or a file of a strict schema, so that none can add a recipient.
 */
import { createHash } from 'node:crypto'
import { domainToASCII } from 'node:url'
import MailComposer from 'nodemailer/lib/mail-composer'
import { z } from 'zod'
import type { PreviewContent } from '../adapter.ts'
import { errors } from '../errors.ts'
import { type Attachment, attachments, sizeOf, typeSent } from './attachment.ts'
import { addressWords, folded, foldedParameters, nameParameterWords, parameterWords, textWords } from './mime-header.ts'
import { plainLine } from './plain-text.ts'

const maxText = 200_000
/** In total: to, cc and bcc. */
export const maxRecipients = 100
/** From this number on, a person should look twice. */
const manyRecipients = 10

const atext = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
/** RFC 5321's Mailbox without quoted names and address literals; a domain has a dot. */
const mailbox = new RegExp(`^${atext}+(?:\\.${atext}+)*@(?:${label}\\.)+${label}$`)

/** Excludes domains that programs read as something else: 0.0 as an IP address, xn-- as letters that it does not spell. */
const isPlainDomain = (domain: string): boolean =>
  domainToASCII(domain) === domain && !/^\d/.test(domain.slice(domain.lastIndexOf('.') + 1))

/** What to write instead of an address with letters beyond ASCII (RFC 6531, 5890). The author decides, because letters may look alike. */
function international(text: unknown): string | undefined {
  if (typeof text !== 'string' || text.length > 254 || !/[^\0-\x7f]/.test(text) || !text.includes('@')) return undefined
  const at = text.lastIndexOf('@')
  const [local, domain] = [text.slice(0, at), text.slice(at + 1)]
  const ascii = domainToASCII(domain)
  if (!mailbox.test(`a@${ascii}`)) return undefined
  if (mailbox.test(`${local}@example.com`))
    return `has an international domain: write it in its ASCII form, ${local}@${ascii}, which is what is sent and shown`
  return 'has letters beyond ASCII before the @: mails to such addresses (SMTPUTF8) cannot be sent from here'
}

const mailAddress = z
  .string()
  .max(254)
  .refine((text) => mailbox.test(text) && text.indexOf('@') <= 64 && isPlainDomain(domainOf(text)), {
    error: ({ input }) => international(input) ?? 'is not a plain mail address such as ada@example.com',
  })

export interface Address {
  address: string
  name?: string | undefined
}

export const address: z.ZodType<Address, string | Address> = z
  .union([mailAddress, z.strictObject({ address: mailAddress, name: plainLine(128).optional() })], {
    error: 'is not a mail address such as ada@example.com, nor {"address": …, "name": …}',
  })
  .transform((given) => (typeof given === 'string' ? { address: given } : given))

const addresses = z.array(address).max(maxRecipients)

const text = z
  .string()
  .max(maxText)
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  .refine((given) => given.isWellFormed() && !/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(given), 'has control characters')
  .transform((given) => given.replace(/\r\n?/g, '\n'))

const fields = {
  to: z.array(address).min(1).max(maxRecipients).describe('Who it goes to: addresses, or {"address": …, "name": …}.'),
  cc: addresses.optional().describe('Who gets a copy.'),
  bcc: addresses.optional().describe('Who gets a copy that the others do not see.'),
  reply_to: address.optional().describe('Where answers go, where that is not the sender.'),
  subject: plainLine(500).describe('One line.'),
  text: text.describe('What it says, as plain text.'),
  attachments: attachments.optional().describe('Files, by their content.'),
  from: address.optional().describe("The connected account's own address; filled in where it is left out."),
}

interface Recipients {
  to: Address[]
  cc?: Address[] | undefined
  bcc?: Address[] | undefined
}

/** Compares the fields only if each is valid by itself. */
const when = ({ issues }: { issues: readonly unknown[] }) => issues.length === 0

const oneEach = (mail: Recipients) => {
  const all = recipientsOf(mail).map((each) => each.address.toLowerCase())
  return new Set(all).size === all.length
}

export const mailParams = z
  .strictObject(fields)
  .refine(oneEach, { path: ['to'], message: 'has a duplicate recipient, here, in cc or in bcc', when })
  .refine((mail) => recipientsOf(mail).length <= maxRecipients, {
    path: ['to'],
    message: `with cc and bcc these are more than ${maxRecipients}`,
    when,
  })

export type Mail = z.output<typeof mailParams>

export const recipientsOf = ({ to, cc = [], bcc = [] }: Recipients): Address[] => [...to, ...cc, ...bcc]

export const domainOf = (mailAddressText: string): string => mailAddressText.slice(mailAddressText.lastIndexOf('@') + 1).toLowerCase()

/** The account's address as the sender, if the provider reports one. */
export const senderOf = (account: string | undefined): Address | undefined =>
  account !== undefined && mailAddress.safeParse(account).success ? { address: account } : undefined

export interface Stamp {
  /** Makes Message-ID and the boundaries unique to the run. */
  runId: string
  date: Date
}

/** The Message-ID of a run's mail, with its angle brackets (RFC 5322, 3.6.4). */
export const messageIdOf = (mail: Pick<Mail, 'from'>, runId: string): string =>
  `<${runId}@${mail.from ? domainOf(mail.from.address) : 'relay.invalid'}>`

/** The mail as it is sent; the same parameters and stamp give the same bytes. Bcc is among the headers: the provider removes it. */
export async function compose(mail: Mail, { runId, date }: Stamp): Promise<Buffer> {
  const composer = new MailComposer({
    text: mail.text,
    attachments: (mail.attachments ?? []).map((file) => ({
      filename: file.filename,
      contentType: file.content_type,
      contentDisposition: 'attachment',
      contentTransferEncoding: 'base64',
      content: Buffer.from(file.content, 'base64'),
    })),
    messageId: messageIdOf(mail, runId),
    date,
    // The author of the text cannot know it: it derives from the run's id.
    baseBoundary: createHash('sha256').update(runId).digest('hex').slice(0, 32),
    newline: 'win',
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  const node = composer.compile()
  const set = (part: typeof node, name: string, value: string) => part.setHeader(name, { prepared: true, value })
  // A mail without text has no part for it, and a single file is the mail itself.
  const parts = [node, ...node.childNodes].filter((part) => part.filename)
  for (const [index, file] of (mail.attachments ?? []).entries()) {
    const part = parts[index]!
    set(part, 'Content-Type', foldedParameters('Content-Type', typeSent(file), nameParameterWords(file.filename)))
    set(part, 'Content-Disposition', foldedParameters('Content-Disposition', 'attachment', parameterWords('filename', file.filename)))
  }
  return Buffer.concat([Buffer.from(personFields(mail)), await node.build()])
}

/** The fields that a person reads; the composer writes those for programs. */
function personFields(mail: Mail): string {
  const people = { From: mail.from && [mail.from], To: mail.to, Cc: mail.cc, Bcc: mail.bcc, 'Reply-To': mail.reply_to && [mail.reply_to] }
  const words = {
    ...Object.fromEntries(Object.entries(people).map(([name, all = []]) => [name, addressWords(all)])),
    Subject: textWords(mail.subject),
  }
  return Object.entries(words)
    .filter(([, each]) => each.length > 0)
    .map(([name, each]) => `${name}: ${folded(name, each)}\r\n`)
    .join('')
}

export const said = ({ address: at, name }: Address) => (name ? `${name} <${at}>` : at)
const sizeSaid = (bytes: number) => (bytes < 1024 ? `${bytes} bytes` : `${(bytes / 1024).toFixed(1)} KiB`)
const fileSaid = (file: Attachment) => `${file.filename} (${typeSent(file)}, ${sizeSaid(sizeOf(file))})`

/** The preview of a mail from this account, with the sender filled in. Throws INVALID_PARAMS for another sender. */
export async function showMail(asked: Mail, account: string | undefined): Promise<PreviewContent> {
  const own = senderOf(account)
  if (own !== undefined && asked.from !== undefined && asked.from.address.toLowerCase() !== own.address.toLowerCase()) {
    throw errors.INVALID_PARAMS({ violations: [{ field: 'params.from', description: `is not the connected account, ${own.address}` }] })
  }
  const from = asked.from ?? own
  const mail: Mail = { ...asked, ...(from && { from }) }
  return { params: { ...mail }, summary: await summarize(mail), warnings: mailWarnings(mail) }
}

/** The exact mail, as a person reads it. */
export async function summarize(mail: Mail): Promise<string> {
  // All stamps have the same length.
  const { length } = await compose(mail, { runId: '00000000-0000-4000-8000-000000000000', date: new Date(0) })
  const line = (name: string, values: readonly string[]) => (values.length === 0 ? [] : [`${name}: ${values.join(', ')}`])
  return [
    ...line('From', mail.from ? [said(mail.from)] : []),
    ...line('To', mail.to.map(said)),
    ...line('Cc', (mail.cc ?? []).map(said)),
    ...line('Bcc', (mail.bcc ?? []).map(said)),
    ...line('Reply-To', mail.reply_to ? [said(mail.reply_to)] : []),
    `Subject: ${mail.subject}`,
    ...line('Attachments', (mail.attachments ?? []).map(fileSaid)),
    `Size: ${sizeSaid(length)}`,
    '',
    mail.text,
  ].join('\n')
}

/** What a person should look at twice before it is sent. */
export function mailWarnings(mail: Mail): string[] {
  const all = recipientsOf(mail)
  const own = mail.from && domainOf(mail.from.address)
  const external = own === undefined ? [] : all.filter((each) => domainOf(each.address) !== own).map((each) => each.address)
  return [
    ...(external.length === 0 ? [] : [`Goes outside ${own}: ${listed(external)}.`]),
    ...(all.length <= manyRecipients ? [] : [`Goes to ${all.length} recipients.`]),
    ...all
      .filter(({ address: at, name }) => name?.includes('@') && name !== at)
      .map(({ address: at, name }) => `"${name}" is a name here: the mail goes to ${at}.`),
    ...(mail.reply_to !== undefined && own !== undefined && domainOf(mail.reply_to.address) !== own
      ? [`Answers go to ${mail.reply_to.address}.`]
      : []),
    ...(mail.subject.trim() === '' ? ['It has no subject.'] : []),
    ...(mail.text.trim() === '' ? ['It has no text.'] : []),
  ]
}

const listed = (items: readonly string[]) =>
  items.length <= 5 ? items.join(', ') : `${items.slice(0, 5).join(', ')} and ${items.length - 5} more`
