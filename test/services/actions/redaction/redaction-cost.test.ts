/** What it costs to hide secrets in what tenants and their receivers wrote: both may be hostile, and everybody else waits meanwhile. */
import { expect, test, vi } from 'vitest'
import { type Redactable, redactSecrets } from '../../../../services/actions/redaction/redaction.ts'
import { isSecretName, isSecretParameter } from '../../../../services/actions/redaction/secret-names.ts'
import { TextSearch } from '../../../../services/actions/redaction/text-search.ts'

vi.setConfig({ testTimeout: 60_000 })

const maxParams = 1024 * 1024
const maxAnswer = 64 * 1024
/** As many values as a body may have. */
const maxValues = 20_000

/** Of this thread, the least of several times: other processes and the collector have theirs. */
function cpuMs(work: () => unknown): number {
  const times = Array.from({ length: 3 }, () => {
    const before = process.threadCpuUsage()
    work()
    const { user, system } = process.threadCpuUsage(before)
    return (user + system) / 1000
  })
  return Math.min(...times)
}

/** Four times as much takes about four times as long; what is done once per call, and what the clock cannot tell, is allowed for. */
function expectLinear(work: (size: number) => () => unknown, size: number): void {
  const [quarter, whole] = [work(size / 4), work(size)]
  whole()
  const [short, long] = [cpuMs(quarter), cpuMs(whole)]
  expect(long).toBeLessThan(6 * short + 20)
  expect(long).toBeLessThan(500)
}

const filled = (text: string, size: number): string => text.repeat(Math.ceil(size / text.length)).slice(0, size)
const run = (given: Partial<Redactable>) => () => redactSecrets({ params: {}, result: undefined, error: undefined, ...given })

const urls = [
  '?',
  '&',
  '#',
  ';',
  '=',
  '@',
  ':',
  '%',
  '%41',
  '/',
  '?a=',
  '&token=',
  '&token=abcdef',
  '?token',
  ';key=x',
  '&to%6ben=abcdefg',
  ':@',
  '?[]',
  'A',
  '\\',
]
test.each(['https:', 'https://', 'https://a ', 'http', 'https:// ', 'https://@ ', 'https://?token=abcdef '])(
  'a text of nothing but "%s" costs what its length costs',
  (text) => {
    expectLinear((size) => run({ params: { body: `x ${filled(text, size)}` } }), maxParams)
  },
)

test.each(urls)('a URL of nothing but "%s" costs what its length costs, as a parameter and as an answer', (text) => {
  expectLinear((size) => run({ params: { body: `https://a/${filled(text, size)}` } }), maxParams)
  expectLinear((size) => run({ params: { body: `https://${filled(text, size)}` } }), maxParams)
  expectLinear((size) => run({ result: { response: `https://a/${filled(text, size)}` } }), maxAnswer)
})

const names = ['-', 'token', 'x-auth-', 'aB', 'x-auth\n']
test.each(names)('a name of nothing but %j costs what its length costs', (text) => {
  expectLinear((size) => run({ params: { [filled(text, size)]: 'x' } }), maxParams)
  expectLinear((size) => () => [isSecretName(filled(text, size)), isSecretParameter(filled(text, size))], maxParams)
  const many = (size: number) => Object.fromEntries(Array.from({ length: size }, (_, index) => [`${filled(text, 40)}${index}`, index]))
  expectLinear((size) => run({ params: many(size) }), maxValues)
})

const responses = ['a', 'ab', '\\', '\\"', '\\\\', '\\u0061', '\\ud83d', '%', '%61', '%25', '%5C%75', '+', 'ü', '\u{1f511}']
test.each(responses)('an answer of nothing but "%s" costs what its length costs, whatever the secrets are', (text) => {
  for (const token of [filled(text, 200), filled(text, 15_000), `${filled(text, 250)}b`, `b${filled(text, 250)}`]) {
    const params = { token }
    expectLinear((size) => run({ params, result: { response: filled(text, size) }, error: `X: ${filled(text, size)}` }), maxAnswer)
  }
})

test('many secrets cost what their length costs, and no more where the answer is long', () => {
  const tokens = (size: number) => Array.from({ length: size }, (_, index) => `${'a'.repeat(30)}${index}`)
  expectLinear((size) => run({ params: { tokens: tokens(size) }, result: { response: filled('a', maxAnswer) } }), maxValues)
  for (const size of [10, 100, 800]) {
    const params = { tokens: tokens(size) }
    expectLinear((length) => run({ params, result: { response: filled('a', length) } }), maxAnswer)
  }
  const params = { tokens: Array.from({ length: 200 }, (_, length) => 'a'.repeat(length)) }
  expectLinear((length) => run({ params, result: { response: filled('a', length) } }), maxAnswer)
  expectLinear((length) => run({ params: { token: 'a'.repeat(length) }, result: { response: filled('a', maxAnswer) } }), maxParams)
  expectLinear(
    (length) =>
      run({
        params: {
          tokens: filled('1,', length)
            .split(',')
            .map((each) => Number(`${each}234567`)),
        },
      }),
    maxValues,
  )
})

test('many values in one answer cost what their length costs', () => {
  const params = { tokens: Array.from({ length: 500 }, (_, index) => `${'a'.repeat(30)}${index}`) }
  expectLinear(
    (size) => run({ params, result: { list: Array.from({ length: size }, () => ({ text: 'aaaaaaa', number: 1234567 })) } }),
    maxValues / 4,
  )
})

test('many texts are looked for in one pass: the answer costs the same, few or many', () => {
  const searched = Buffer.from(filled('ab', maxAnswer))
  const [few, many] = [10, 1000].map(
    (size) => new TextSearch(Array.from({ length: size }, (_, index) => Buffer.from(`${filled('ab', 30)}${index}`))),
  )
  const cost = (search: TextSearch) => cpuMs(() => search.find(searched, () => undefined))
  cost(few!)
  expect(cost(many!)).toBeLessThan(6 * cost(few!) + 20)
})
