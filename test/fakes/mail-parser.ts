/**
 * Reads a mail as RFC 5322, 2045, 2047 and 2231 write it down, and refuses whatever they do not allow: what a sender composes is held to
 * what a stranger's program would see.
 */
export interface Part {
  headers: readonly { name: string; value: string }[]
  type: string
  filename: string | undefined
  /** Decoded; of a multipart, empty. */
  body: Buffer
  parts: readonly Part[]
}

export interface ParsedMail extends Part {
  /** Decoded; throws where the header is there more than once. */
  header(name: string): string | undefined
  /** Every address of a header, with its name. */
  people(name: string): { address: string; name: string }[]
}

export function parseMail(raw: Buffer): ParsedMail {
  const part = parsePart(raw)
  const header = (name: string) => {
    const found = part.headers.filter((each) => each.name.toLowerCase() === name.toLowerCase())
    if (found.length > 1) throw new Error(`${name} is there ${found.length} times`)
    return found[0]?.value
  }
  return { ...part, header: (name) => decodeWords(header(name)), people: (name) => parsePeople(header(name) ?? '') }
}

function parsePart(raw: Buffer): Part {
  const text = raw.toString('latin1')
  if (/\r(?!\n)|(?<!\r)\n/.test(text)) throw new Error('a CR or LF stands alone')
  const end = text.startsWith('\r\n') ? 0 : text.indexOf('\r\n\r\n') + 2
  if (end === 1) throw new Error('the headers do not end')
  const lines = text
    .slice(0, end)
    .replaceAll(/\r\n(?=[ \t])/g, '')
    .split('\r\n')
    .slice(0, -1)
  if (
    text
      .slice(0, end)
      .split('\r\n')
      .some((line) => line.length > 998)
  )
    throw new Error('a header line is longer than 998')
  const headers = lines.map((line) => {
    const match = /^([!-9;-~]+):[ \t]*([\t -~]*)$/.exec(line)
    if (match === null) throw new Error(`this is no header: ${JSON.stringify(line)}`)
    return { name: match[1]!, value: match[2]! }
  })
  const valueOf = (name: string) => headers.find((each) => each.name.toLowerCase() === name)?.value
  const type = parameters(valueOf('content-type') ?? 'text/plain')
  const disposition = parameters(valueOf('content-disposition') ?? '')
  const content = text.slice(end + 2)
  const filename = disposition.values.get('filename')
  if (!type.value.startsWith('multipart/'))
    return { headers, type: type.value, filename, body: decode(content, valueOf('content-transfer-encoding') ?? '7bit'), parts: [] }
  const boundary = type.values.get('boundary') ?? ''
  if (boundary === '' || boundary.length > 70) throw new Error('a multipart has no usable boundary')
  const [preamble, ...pieces] = `\r\n${content}`.split(`\r\n--${boundary}`)
  const close = pieces.pop()
  if (preamble !== '' && preamble !== '\r\n' && preamble !== undefined && preamble.trim() !== '')
    throw new Error('text before the first part')
  if (close === undefined || !/^--\s*$/.test(close)) throw new Error('the last part does not end')
  const parts = pieces.map((piece) => {
    if (!piece.startsWith('\r\n')) throw new Error('a boundary goes on')
    return parsePart(Buffer.from(piece.slice(2), 'latin1'))
  })
  return { headers, type: type.value, filename, body: Buffer.alloc(0), parts }
}

function decode(content: string, encoding: string): Buffer {
  switch (encoding.toLowerCase()) {
    case '7bit':
      // oxlint-disable-next-line no-control-regex -- ASCII is what is meant
      if (/[^\x01-\x7f]/.test(content) || content.split('\r\n').some((line) => line.length > 998)) throw new Error('not 7bit')
      return Buffer.from(content, 'latin1')
    case 'base64':
      if (!/^(?:[A-Za-z0-9+/=]{0,76}\r\n)*[A-Za-z0-9+/=]{0,76}$/.test(content)) throw new Error('not base64')
      return Buffer.from(content, 'base64')
    case 'quoted-printable': {
      if (content.split('\r\n').some((line) => line.length > 76 || /[ \t]$/.test(line))) throw new Error('not quoted-printable')
      const joined = content.replaceAll('=\r\n', '')
      if (/=(?![0-9A-F]{2})|[^\r\n\t -~]/.test(joined)) throw new Error('not quoted-printable')
      return Buffer.from(
        joined.replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
        'latin1',
      )
    }
    default:
      throw new Error(`there is no encoding ${encoding}`)
  }
}

/** `value; name="…"; name*0*=…` (RFC 2231). */
function parameters(header: string): { value: string; values: Map<string, string> } {
  const value = /^[^;]*/.exec(header)![0].trim().toLowerCase()
  const pieces = new Map<string, [number, string, boolean][]>()
  const pattern = /;\s*([\w-]+)(?:\*(\d+))?(\*)?=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g
  let rest = header.slice(/^[^;]*/.exec(header)![0].length)
  for (const match of rest.matchAll(pattern)) {
    const list = pieces.get(match[1]!.toLowerCase()) ?? []
    list.push([Number(match[2] ?? 0), match[4]?.replaceAll(/\\(.)/g, '$1') ?? match[5]!, match[3] !== undefined])
    pieces.set(match[1]!.toLowerCase(), list)
    rest = rest.replace(match[0], '')
  }
  if (rest.trim() !== '') throw new Error(`these are no parameters: ${header}`)
  const values = [...pieces].map(([name, list]): [string, string] => {
    const sorted = list.toSorted(([one], [other]) => one - other)
    const extended = sorted[0]![2]
    // Percent-encoded pieces are bytes of one text: a character may begin in one and end in the next.
    const joined = sorted.map(([, text, encoded]) => (encoded ? text : encodeURIComponent(text))).join('')
    return [name, extended ? decodeURIComponent(joined.replace(/^utf-8'[^']*'/i, '')) : sorted.map(([, text]) => text).join('')]
  })
  return { value, values: new Map(values) }
}

const word = /=\?([\w-]+)\?([BQ])\?([!->@-~]*)\?=/gi

function decodeWords(value: string): string
function decodeWords(value: string | undefined): string | undefined
function decodeWords(value: string | undefined): string | undefined {
  // Bytes first, text last: space between two words is none (RFC 2047, 6.2).
  return value?.replaceAll(/(?:=\?[\w-]+\?[BQ]\?[!->@-~]*\?=[ \t]*(?==\?|[^=]|=(?!\?)|$))+/gi, (run) => {
    const after = /[ \t]*$/.exec(run)![0]
    const bytes = [...run.matchAll(word)].map(([whole, charset, encoding, text]) => {
      if (charset!.toLowerCase() !== 'utf-8' || whole.length > 75) throw new Error(`this is no encoded word: ${whole}`)
      if (encoding!.toUpperCase() === 'B') return Buffer.from(text!, 'base64')
      return Buffer.from(
        text!.replaceAll('_', ' ').replaceAll(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
        'latin1',
      )
    })
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(bytes)) + after
  })
}

function parsePeople(value: string): { address: string; name: string }[] {
  const people = []
  let rest = value.trim()
  while (rest !== '') {
    const match = /^(?:(?:"((?:[^"\\]|\\.)*)"|([^",<>@]*?))\s*<([^<>\s@"]+@[^<>\s@"]+)>|([^<>\s@",]+@[^<>\s@",]+))\s*(?:,\s*|$)/.exec(rest)
    if (match === null) throw new Error(`these are no addresses: ${rest}`)
    people.push({ address: match[3] ?? match[4]!, name: match[1]?.replaceAll(/\\(.)/g, '$1') ?? decodeWords(match[2] ?? '') })
    rest = rest.slice(match[0].length)
  }
  return people
}
