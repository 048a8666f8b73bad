/** Mails: what is taken, and that a stranger's program reads in the bytes what the preview showed and nothing else. */
import fc from 'fast-check'
import PostalMime from 'postal-mime'
import { describe, expect, test } from 'vitest'
import { contradiction, maxAttachmentBytes } from '../../../../services/actions/adapters/attachment.ts'
import {
  type Mail,
  compose,
  mailParams,
  mailWarnings,
  recipientsOf,
  senderOf,
  summarize,
} from '../../../../services/actions/adapters/mail.ts'
import { parseMail } from '../../../fakes/mail-parser.ts'

const stamp = { runId: '3a033cc1-0000-4000-8000-000000000001', date: new Date('2030-01-02T03:04:05Z') }
const base = { to: ['bob@example.com'], subject: 's', text: 't' }
const base64 = (text: string | Buffer) => Buffer.from(text).toString('base64')

const label = fc.stringMatching(/^[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?$/)
const address = fc
  .tuple(fc.stringMatching(/^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}$/), label, fc.stringMatching(/^[a-z]{2,6}$/))
  .map(([local, one, two]) => `${local}@${one}.${two}`)
/** Anything, with what breaks headers, quotes and MIME put in often. */
const nasty = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 20 }),
      fc.constantFrom(
        '\r\n',
        '\n',
        '\r',
        '\0',
        '\u2028',
        '"',
        '\\',
        '<',
        '>',
        ',',
        ';',
        ':',
        '@',
        '=?UTF-8?Q?=0D=0ABcc:_x@evil.example?=',
        '\r\nBcc: x@evil.example\r\n',
        '\n\n',
        '--',
        '"=',
        '\u202e',
        ' ',
        '\t',
        'é',
        '𝒳',
        '=',
        '.',
      ),
    ),
    { maxLength: 8 },
  )
  .map((pieces) => pieces.join(''))
/** Mostly what may stand in a line, so that many mails are taken. */
const line = fc.oneof(
  { weight: 30, arbitrary: nasty.map((text) => text.replaceAll(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '')) },
  { weight: 1, arbitrary: nasty },
)
const person = fc.oneof(
  address,
  fc.record({ address: fc.oneof({ weight: 40, arbitrary: address }, { weight: 1, arbitrary: nasty }), name: line }),
)
const file = fc.record({
  filename: fc.oneof(line, fc.constantFrom('a.txt', 'ä "x".pdf', '=?UTF-8?Q?x?=.txt')),
  content_type: fc.constantFrom('application/octet-stream', 'application/x-y', 'audio/mpeg', 'font/woff2'),
  content: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('base64')),
})
const asked = fc.record(
  {
    to: fc.array(person, { minLength: 1, maxLength: 4 }),
    cc: fc.array(person, { maxLength: 3 }),
    bcc: fc.array(person, { maxLength: 3 }),
    from: person,
    reply_to: person,
    subject: line,
    text: fc.oneof(line, nasty, fc.string({ unit: 'grapheme', maxLength: 2000 })),
    attachments: fc.array(file, { maxLength: 3 }),
  },
  { requiredKeys: ['to', 'subject', 'text'] },
)

/** Words are joined, and space at the ends is none, whoever writes a header. */
const squeezed = (text: string) => text.replaceAll(/\s+/g, ' ').trim()

function expectAsShown(mail: Mail, raw: Buffer) {
  const parsed = parseMail(raw)
  const people = (all: Mail['to'] | undefined) =>
    (all ?? []).map(({ address: at, name }) => ({
      address: at.replace(/@.*/, (domain) => domain.toLowerCase()),
      name: squeezed(name ?? ''),
    }))
  const read = (name: string) =>
    parsed
      .people(name)
      .map((each) => ({ address: each.address.replace(/@.*/, (domain) => domain.toLowerCase()), name: squeezed(each.name) }))
  expect(read('to')).toEqual(people(mail.to))
  expect(read('cc')).toEqual(people(mail.cc))
  expect(read('bcc')).toEqual(people(mail.bcc))
  expect(read('from')).toEqual(people(mail.from && [mail.from]))
  expect(read('reply-to')).toEqual(people(mail.reply_to && [mail.reply_to]))
  expect(squeezed(parsed.header('subject') ?? '')).toBe(squeezed(mail.subject))
  const known = [
    'from',
    'to',
    'cc',
    'bcc',
    'reply-to',
    'subject',
    'message-id',
    'date',
    'mime-version',
    'content-type',
    'content-transfer-encoding',
    'content-disposition',
  ]
  expect(parsed.headers.map(({ name }) => name.toLowerCase()).filter((name) => !known.includes(name))).toEqual([])
  const parts = parsed.parts.length > 0 ? parsed.parts : [parsed]
  const files = parts.filter(({ filename }) => filename !== undefined)
  expect(files.map(({ filename, type, body }) => ({ filename: squeezed(filename!), type, content: body.toString('base64') }))).toEqual(
    (mail.attachments ?? []).map(({ filename, content_type: type, content }) => ({ filename: squeezed(filename), type, content })),
  )
  const texts = parts.filter(({ filename }) => filename === undefined)
  expect(texts.map(({ body }) => body.toString().replaceAll('\r\n', '\n').replace(/\n$/, '')).join('')).toBe(mail.text.replace(/\n$/, ''))
}

describe('the bytes', () => {
  test('say what was shown and nothing else, whatever is requested, or the request is rejected', async () => {
    let taken = 0
    await fc.assert(
      fc.asyncProperty(asked, async (json) => {
        const parsed = mailParams.safeParse(json)
        if (!parsed.success) return
        taken += 1
        expectAsShown(parsed.data, await compose(parsed.data, stamp))
      }),
      { numRuns: 400 },
    )
    expect(taken).toBeGreaterThan(100)
  })

  test('of long lines, or lines that look like the end of a part, are those of the text', async () => {
    const text = ['x'.repeat(5000), '.', '--', 'From here', ' =20', 'ü'.repeat(2000), 'trailing  ', '\t', ''].join('\n')
    const mail = mailParams.parse({
      ...base,
      text,
      attachments: [{ filename: `${'ö'.repeat(60)}.txt`, content_type: 'text/plain', content: base64('hä\n') }],
    })
    const raw = await compose(mail, stamp)
    expectAsShown(mail, raw)
    // A whole mail in a mail, boundaries and all.
    const around = { ...mail, text: raw.toString().replaceAll('\r\n', '\n') }
    expectAsShown(around, await compose(around, { ...stamp, runId: '3a033cc1-0000-4000-8000-000000000002' }))
  })

  test('arrive as they were shown in another program, even if they look like encoded words', async () => {
    await fc.assert(
      fc.asyncProperty(asked, async (json) => {
        const parsed = mailParams.safeParse(json)
        if (!parsed.success) return
        const mail = parsed.data
        const raw = await compose(mail, stamp)
        // No line of the headers is white space alone, none is longer than a line may be, and all are ASCII.
        const [head] = raw.toString('latin1').split('\r\n\r\n')
        for (const row of head!.split('\r\n')) expect(row).toMatch(/^(?=.*[!-~])[\t -~]{1,998}$/)
        const read = await PostalMime.parse(raw)
        expect(squeezed(read.subject ?? '')).toBe(squeezed(mail.subject))
        const names = (all: readonly { name?: string | undefined }[] | undefined) => (all ?? []).map(({ name }) => squeezed(name ?? ''))
        expect(names(read.to as { name: string }[])).toEqual(names(mail.to))
        expect(names(read.cc as { name: string }[])).toEqual(names(mail.cc))
        const files = read.attachments.map(({ filename }) => squeezed(filename ?? ''))
        // This reader decodes an extended value a second time, which no sender can help; the strict one above reads all of them.
        for (const [index, { filename }] of (mail.attachments ?? []).entries())
          if (!filename.includes('=?')) expect(files[index]).toBe(squeezed(filename))
      }),
      { numRuns: 400 },
    )
  })

  test.each([
    'Re: =?utf-8?Q?x?= y',
    '=?UTF-8?B?eA==?=',
    '=?utf-8?Q?a b?=',
    'a=?b?Q?c?=d',
    '=?',
    '  two  spaces  ',
    '   ',
    '"quoted" \\ =?utf-8?q?=22?=',
  ])('of %j as a subject, a name and a file name are read as they were shown', async (text) => {
    const attachments = [
      { filename: text.trim() === '' ? 'a' : text.replaceAll(/[/\\]/g, '_'), content_type: 'text/plain', content: base64('hi') },
    ]
    const mail = mailParams.parse({ ...base, to: [{ address: 'bob@example.com', name: text }], subject: text, attachments })
    const raw = await compose(mail, stamp)
    const read = await PostalMime.parse(raw)
    expect([read.subject, read.to?.[0]?.name].map((each) => squeezed(each ?? ''))).toEqual([squeezed(text), squeezed(text)])
    expectAsShown(mail, raw)
    // A lenient reader decodes whatever looks like an encoded word: each that there is says what was shown.
    const words = raw.toString().match(/=\?[^?\r\n]*\?[bq]\?[^?\r\n]*\?=/gi) ?? []
    for (const word of words) expect(word).toMatch(/^=\?UTF-8\?B\?[A-Za-z0-9+/]+=*\?=$/)
  })

  test('of a text file have its charset, so that non-ASCII text is read as it was written', async () => {
    const attachments = [
      { filename: 'a.csv', content_type: 'text/csv', content: base64('größe;1\n') },
      { filename: 'b.bin', content_type: 'application/octet-stream', content: base64('größe') },
    ]
    const mail = mailParams.parse({ ...base, attachments })
    const raw = (await compose(mail, stamp)).toString()
    expect(raw).toContain('Content-Type: text/csv; charset=utf-8; name="a.csv"\r\n')
    expect(raw).toContain('Content-Type: application/octet-stream; name="b.bin"\r\n')
    expect(await summarize(mail)).toContain('a.csv (text/csv; charset=utf-8, 10 bytes)')
  })

  test('are the same for the same run, and have its id and date', async () => {
    const mail = mailParams.parse({
      ...base,
      from: 'ada@example.com',
      attachments: [{ filename: 'a', content_type: 'text/plain', content: '' }],
    })
    const [one, two] = [await compose(mail, stamp), await compose(mail, stamp)]
    expect(one).toEqual(two)
    expect(parseMail(one).header('message-id')).toBe(`<${stamp.runId}@example.com>`)
    expect(parseMail(one).header('date')).toBe('Wed, 02 Jan 2030 03:04:05 +0000')
  })

  test('never come from a file or a URL that a parameter names', async () => {
    const mail = { ...mailParams.parse(base), text: { path: '/etc/passwd' } } as unknown as Mail
    await expect(compose(mail, stamp)).rejects.toThrow(/access/i)
  })
})

describe('parameters', () => {
  test.each([
    ['no recipient', { to: [] }, 'to'],
    ['one address that names two', { to: ['a@example.com, b@example.com'] }, 'to.0'],
    ['a header in an address', { to: ['a@example.com\r\nBcc: x@evil.example'] }, 'to.0'],
    ['a quoted local part', { to: ['"a b"@example.com'] }, 'to.0'],
    ['an address at an IP', { to: ['a@[127.0.0.1]'] }, 'to.0'],
    ['a domain without a dot', { to: ['a@localhost'] }, 'to.0'],
    ['a domain in letters that look alike', { to: ['a@exаmple.com'] }, 'to.0'],
    ['a domain beyond ASCII', { to: ['ada@bücher.example'] }, 'to.0'],
    ['a local part beyond ASCII', { to: [{ address: 'jörg@example.com' }] }, 'to.0.address'],
    ['somebody twice', { cc: ['BOB@example.com'] }, 'to'],
    [
      'too many in all',
      {
        to: Array.from({ length: 60 }, (_, index) => `a${index}@example.com`),
        bcc: Array.from({ length: 60 }, (_, index) => `b${index}@example.com`),
      },
      'to',
    ],
    ['a line end in the subject', { subject: 'a\nb' }, 'subject'],
    ['a mark that reorders the subject', { subject: 'a\u202eb' }, 'subject'],
    ['NUL in the text', { text: 'a\0' }, 'text'],
    ['a header of its own', { headers: { 'X-A': 'b' } }, ''],
    ['a file by path', { attachments: [{ filename: 'a', content_type: 'text/plain', path: '/etc/passwd' }] }, 'attachments.0.content'],
    ['a file name with a path', { attachments: [{ filename: '../a', content_type: 'text/plain', content: '' }] }, 'attachments.0.filename'],
    ['what is not base64', { attachments: [{ filename: 'a', content_type: 'text/plain', content: 'a b' }] }, 'attachments.0.content'],
    [
      'base64 that a second text encodes too',
      { attachments: [{ filename: 'a', content_type: 'text/plain', content: 'QUK=' }] },
      'attachments.0.content',
    ],
    [
      'a type with a parameter',
      { attachments: [{ filename: 'a', content_type: 'text/html; charset=utf-7', content: '' }] },
      'attachments.0.content_type',
    ],
    [
      'a message as a file',
      { attachments: [{ filename: 'a', content_type: 'message/rfc822', content: '' }] },
      'attachments.0.content_type',
    ],
    [
      'a program that says it is a picture',
      { attachments: [{ filename: 'a.png', content_type: 'image/png', content: base64('MZ\x90') }] },
      'attachments.0.content',
    ],
  ])('refuse %s', (_, json, field) => {
    const parsed = mailParams.safeParse({ ...base, ...json })
    expect(parsed.error?.issues.map(({ path }) => path.join('.'))).toContain(field)
  })

  test('reject an international address with what to write instead', () => {
    const said = (to: unknown) => mailParams.safeParse({ ...base, to: [to] }).error?.issues[0]?.message
    const sentence = 'has an international domain: write it in its ASCII form, ada@xn--bcher-kva.example, which is what is sent and shown'
    expect(said('ada@bücher.example')).toBe(sentence)
    expect(said({ address: 'ada@bücher.example', name: 'Ada' })).toBe(sentence)
    expect(said('ada@BÜCHER。example')).toBe(sentence)
    expect(said('jörg@example.com')).toMatch(/has letters beyond ASCII before the @/)
    expect(said('ü')).toMatch(/^is not a plain mail address/)
    expect(said('a b@bü cher')).toMatch(/^is not a plain mail address/)
    const taken = mailParams.parse({ ...base, to: ['ada@xn--bcher-kva.example'] })
    expect(taken.to).toEqual([{ address: 'ada@xn--bcher-kva.example' }])
  })

  test('reject files that are too large together though each alone is not', () => {
    const half = { content_type: 'application/octet-stream', content: Buffer.alloc(maxAttachmentBytes / 2 + 1).toString('base64') }
    const files = (count: number) =>
      mailParams.safeParse({ ...base, attachments: Array.from({ length: count }, (_, index) => ({ ...half, filename: `${index}` })) })
        .success
    expect([files(1), files(2)]).toEqual([true, false])
  })

  test('are unchanged by a second validation', () => {
    const first = mailParams.parse({ ...base, cc: [{ address: 'a@example.com', name: 'A' }], text: 'a\r\nb' })
    expect(mailParams.parse(JSON.parse(JSON.stringify(first)))).toEqual(first)
    expect(recipientsOf(first)).toEqual([{ address: 'bob@example.com' }, { address: 'a@example.com', name: 'A' }])
  })
})

test.each([
  ['application/pdf', '%PDF-1.7', undefined],
  ['application/pdf', 'hello', /is not application\/pdf/],
  ['text/csv', 'MZ,1\n', undefined],
  ['text/plain', '\xff\xfe', /not text/],
  ['application/vnd.openxmlformats-officedocument.wordprocessingml.document', 'PK\x03\x04', undefined],
  ['application/octet-stream', '%PDF-1.7', undefined],
  ['application/octet-stream', 'MZ', undefined],
  ['application/pdf', '\r\n \t%PDF-1.4', undefined],
  ['application/pdf', ' '.repeat(1025) + '%PDF-1.4', /is not application\/pdf/],
  ['image/png', ' \x89PNG\r\n\x1a\n', /is not image\/png/],
  ['image/jpg', '\xff\xd8\xff\xe0', undefined],
  ['image/pjpeg', '\xff\xd8\xff\xe0', undefined],
  ['image/jpg', '\x89PNG\r\n\x1a\n', /is image\/png/],
  ['application/x-zip-compressed', 'PK\x03\x04', undefined],
  ['application/zip', 'PK\x05\x06', undefined],
  ['model/3mf', 'PK\x03\x04', undefined],
  ['application/vnd.ms-package.3dmanufacturing-3dmodel+xml', 'PK\x03\x04', undefined],
  ['application/vnd.etsi.asic-e+zip', 'PK\x03\x04', undefined],
  ['application/vnd.etsi.asic-e+zip', 'hello', /is not application\/vnd.etsi.asic-e\+zip/],
  ['application/vnd.google-earth.kmz', 'PK\x03\x04', undefined],
  ['application/msword', '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', undefined],
  ['application/vnd.ms-excel', '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', undefined],
  ['application/vnd.ms-excel', 'a;b\n', undefined],
  ['application/vnd.openxmlformats-officedocument.wordprocessingml.document', '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', undefined],
  ['application/vnd.openxmlformats-officedocument.wordprocessingml.document', 'MZ', /is application\/x-msdownload/],
  ['application/msword', 'MZ', /is application\/x-msdownload/],
  ['image/svg+xml', 'PK\x03\x04', /is application\/zip/],
  ['text/plain', 'PK\x03\x04\0', /not text/],
  ['application/octet-stream', 'anything', undefined],
  ['image/svg+xml', 'MZ', /is application\/x-msdownload/],
])('content that is declared as %s and begins with %j is held against its own first bytes', (declared, content, message) => {
  const found = contradiction(declared, Buffer.from(content, 'latin1'))
  if (message === undefined) expect(found).toBeUndefined()
  else expect(found).toMatch(message)
})

test('the summary has the size of the exact bytes', async () => {
  const mail = mailParams.parse({ ...base, from: 'ada@example.com' })
  expect(await summarize(mail)).toContain(`Size: ${(await compose(mail, stamp)).length} bytes`)
})

test('warnings name what a person would overlook', () => {
  const warned = (json: object) => mailWarnings(mailParams.parse({ ...base, from: 'ada@example.com', ...json }))
  expect(warned({})).toEqual([])
  expect(warned({ subject: ' ', text: '\n' })).toEqual(['It has no subject.', 'It has no text.'])
  expect(warned({ reply_to: 'eve@evil.example' })).toEqual(['Answers go to eve@evil.example.'])
  expect(warned({ bcc: ['x@sub.example.com'] })).toEqual(['Goes outside example.com: x@sub.example.com.'])
})

test('an account whose name is not an address has no sender', () => {
  expect(senderOf('ada@example.com')).toEqual({ address: 'ada@example.com' })
  for (const account of [undefined, 'Ada', 'a@b', 'a@example.com\r\nX: y']) expect(senderOf(account)).toBeUndefined()
})
