import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkAddress, parsePolicy, parseTarget, publicOnly } from '../../services/actions/egress/egress-policy.ts'

const policies = fc.constantFrom(publicOnly, parsePolicy(['127.0.0.0/8', '::1/128']), parsePolicy(['10.0.0.0/8', 'fd00::/8']))

const ipv4Blocks = [0, 0x0a000000, 0x64400000, 0x7f000000, 0xa9fe0000, 0xac100000, 0xc0000000, 0xc0a80000, 0xc6120000, 0xe0000000]

/** IPv4 addresses as a number: anywhere, and often around the special blocks. */
const ipv4 = fc.oneof(
  fc.nat(0xffffffff),
  fc.tuple(fc.constantFrom(...ipv4Blocks), fc.nat(0x1ffffff)).map(([base, offset]) => (base + offset) >>> 0),
)
const dotted = (value: number) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.')

const spelledNumber = (value: number) => {
  const hex = value.toString(16)
  return fc.constantFrom(String(value), `0x${hex}`, `0X${hex.toUpperCase()}`, `0${value.toString(8)}`, `0x0${hex}`)
}

/** One to four parts, decimal, octal or hexadecimal, the last taking what is left (https://url.spec.whatwg.org/#concept-ipv4-parser). */
const spelledParts = (value: number) =>
  fc.integer({ min: 0, max: 3 }).chain((leading) => {
    const parts = Array.from({ length: leading }, (_, i) => (value >>> (24 - 8 * i)) & 255)
    const rest = leading === 0 ? value : value & (2 ** (32 - 8 * leading) - 1)
    return fc.tuple(...[...parts, rest].map(spelledNumber)).map((spelled) => spelled.join('.'))
  })

const percent = (character: string) => [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
const fullWidth = (character: string) => (character === '.' ? '。' : String.fromCodePoint(character.codePointAt(0)! + 0xfee0))

/** Any of the characters percent-encoded or full-width, and perhaps a dot at the end. */
const disguised = (text: string) => {
  const ways = [...text].map((character) => fc.constantFrom(character, percent(character), fullWidth(character)))
  return fc.tuple(...ways, fc.constantFrom('', '.')).map((characters) => characters.join(''))
}

test('an IPv4 address is judged the same in every spelling', () => {
  const spelled = ipv4.chain((value) => fc.tuple(fc.constant(dotted(value)), spelledParts(value).chain(disguised)))
  fc.assert(
    fc.property(spelled, policies, ([canonical, spelling], policy) => {
      const refusal = checkAddress(canonical, policy)
      const target = parseTarget(`http://${spelling}/`, policy)
      if (refusal === undefined) expect(target).toMatchObject({ host: canonical })
      else expect(target).toBe(`leads to ${refusal}.`)
    }),
    { numRuns: 2000 },
  )
})

const ipv6Blocks = [
  [],
  [0],
  [0, 0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0xffff],
  [0x64, 0xff9b],
  [0x100],
  [0x2001],
  [0x2001, 0xdb8],
  [0x2002],
  [0x2606],
  [0x3fff],
  [0xfc00],
  [0xfe80],
  [0xff02],
]

/** IPv6 addresses as eight groups: anywhere, and often in or around the special blocks. */
const ipv6 = fc
  .tuple(fc.constantFrom(...ipv6Blocks), fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 }))
  .map(([head, tail]) => [...head, ...tail].slice(0, 8))

const written = (groups: readonly number[], pad: boolean, upper: boolean) =>
  groups.map((group) => {
    const text = group.toString(16).padStart(pad ? 4 : 1, '0')
    return upper ? text.toUpperCase() : text
  })

/** Groups padded or not, in either case, the first run of zeros shortened or not, the last two groups dotted or not. */
const spelledIpv6 = (groups: readonly number[]) =>
  fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()).map(([pad, upper, shorten, dots]) => {
    const tail = dotted(((groups[6]! << 16) | groups[7]!) >>> 0)
    const from = groups.slice(0, 6).findIndex((group) => group === 0)
    const [head, end] = [groups.slice(0, 6), dots ? [tail] : written(groups.slice(6), pad, upper)]
    if (!shorten || from === -1) return [...written(head, pad, upper), ...end].join(':')
    let to = from
    while (to < 6 && head[to] === 0) to++
    return `${written(head.slice(0, from), pad, upper).join(':')}::${[...written(head.slice(to), pad, upper), ...end].join(':')}`
  })

test('an IPv6 address is judged the same in every spelling', () => {
  const spelled = ipv6.chain((groups) => fc.tuple(fc.constant(written(groups, false, false).join(':')), spelledIpv6(groups)))
  fc.assert(
    fc.property(spelled, policies, ([canonical, spelling], policy) => {
      const refusal = checkAddress(canonical, policy)
      expect(checkAddress(spelling, policy)).toBe(refusal)
      const target = parseTarget(`https://[${spelling}]/`, policy)
      expect(typeof target === 'string' ? target : undefined).toBe(refusal === undefined ? undefined : `leads to ${refusal}.`)
    }),
    { numRuns: 2000 },
  )
})

test('an IPv4 address inside of an IPv6 one is never let through by the rules for IPv4', () => {
  const heads = fc.constantFrom('::', '::ffff:', '64:ff9b::', '64:ff9b:1::', '::ffff:0:')
  const tailed = fc.tuple(heads, ipv4).map(([head, value]) => head + dotted(value))
  const sixToFour = ipv4.map((value) => `2002:${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}::`)
  const hidden = fc.oneof(tailed, sixToFour)
  fc.assert(
    fc.property(hidden, (address) => {
      fc.pre(address !== '::0.0.0.1')
      expect(checkAddress(address, parsePolicy(['0.0.0.0/0', '::1/128']))).toBeTypeOf('string')
    }),
    { numRuns: 1000 },
  )
})

const pieces = 'http s : / // @ [ ] ::1 127 . % %25 %2e 0x 1 localhost \\ ? # 。'.split(' ')

/** Text that is, nearly is, or is not at all a URL. */
const urls = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.webUrl({ withFragments: true, withQueryParameters: true }),
  fc.string({ unit: 'binary' }).map((text) => `http://${text}`),
  fc
    .tuple(fc.webUrl(), fc.nat(30), fc.string({ unit: 'binary', maxLength: 3 }))
    .map(([url, at, noise]) => url.slice(0, at) + noise + url.slice(at)),
  fc.array(fc.constantFrom(...pieces)).map((parts) => parts.join('')),
)

test('any text is either refused in a sentence or a target that the rules let through', () => {
  fc.assert(
    fc.property(urls, policies, (text, policy) => {
      const target = parseTarget(text, policy)
      if (typeof target === 'string') {
        expect(target).toMatch(/^[a-z].*\.$/)
        return
      }
      expect(target.url.protocol).toMatch(/^https?:$/)
      expect(target.url.username + target.url.password).toBe('')
      expect(target.port).toBeGreaterThan(0)
      if (/^[\d.]+$|:/.test(target.host)) expect(checkAddress(target.host, policy)).toBeUndefined()
    }),
    { numRuns: 5000 },
  )
})

test('any text as an address is judged without an error, and only an address is let through', () => {
  const texts = fc.oneof(
    fc.string(),
    fc.ipV4(),
    fc.ipV4Extended(),
    fc.ipV6(),
    fc.ipV6().map((ip) => `${ip}%1`),
  )
  fc.assert(
    fc.property(texts, policies, (text, policy) => {
      if (checkAddress(text, policy) === undefined) expect(text).toMatch(/^[0-9a-fA-F:.]+$/)
    }),
    { numRuns: 2000 },
  )
})
