/** What is refused must not cost more than what is served: worst cases at the limit of size, for whatever looks at a request. */
import { threadCpuUsage } from 'node:process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MeshError, maxViolations } from '#mesh/errors.ts'
import { methods } from '#mesh/grpc/descriptors.ts'
import { toStatus } from '#mesh/grpc/status.ts'
import { toProblem } from '#mesh/problem.ts'
import { maxJsonMembers, maxJsonValues } from '../../gateway/transcoding/json-size.ts'
import { routesOf } from '../../gateway/contract/route-table.ts'
import { requestReader } from '../../gateway/transcoding/transcode.ts'
import { type TestGateway, apiKey, startGateway } from './gateway.ts'

/** How long one request may keep all others from being answered, in milliseconds of CPU time. */
const maxMs = 50
/** An answer that says why not is no larger than a page of text. */
const maxBytes = 16 * 1024
const bodyLimit = 1024 * 1024

/** The least CPU time that the work took, of several times: what else the machine does counts little then. */
async function minMs(work: () => unknown): Promise<number> {
  const times: number[] = []
  for (let round = 0; round < 5 && (times.length === 0 || Math.min(...times) > maxMs / 2); round += 1) {
    const start = threadCpuUsage()
    await work()
    const { user, system } = threadCpuUsage(start)
    times.push((user + system) / 1000)
  }
  return Math.min(...times)
}

/** As many units as fit into a body of the limit's size, or so many. */
function filled(before: string, unit: (index: number) => string, after: string, max = Infinity): string {
  const parts: string[] = []
  for (let index = 0, size = before.length + after.length; index < max; index += 1) {
    const part = unit(index)
    if ((size += part.length + 1) > bodyLimit) break
    parts.push(part)
  }
  return before + parts.join(',') + after
}

const start = '{"action":"webhook.save","params":{"url":"https://example.com/","method":"POST","body":'
const room = bodyLimit - 200
const short = (index: number) => index.toString(36)

const bodies: Record<string, string> = {
  'unknown fields': filled('{', (index) => `"u${short(index)}":1`, '}'),
  'as many unknown fields as an object may have': filled('{', (index) => `"u${short(index)}":1`, '}', maxJsonMembers),
  'unknown fields with long names': filled('{', (index) => `"${short(index).padEnd(400, 'x')}":1`, '}'),
  'one unknown field, the name of which fills the body': `{"${'u'.repeat(room)}":1}`,
  'known fields of the wrong type, and others': filled('{"action":1,"params":[],', (index) => `"u${short(index)}":{"a":1}`, '}', 2000),
  'a value as large as it may be, and a field of the wrong type': filled(
    '{"action":5,"params":{"b":[',
    () => `"${'x'.repeat(49)}"`,
    ']}}',
    maxJsonValues - 10,
  ),
  'a value as large as it may be, and a rule broken': filled(
    '{"params":{"b":[',
    () => `"${'x'.repeat(49)}"`,
    ']},"action":""}',
    maxJsonValues - 10,
  ),
  'a duplicate key behind as many members as there may be': filled(
    `${start}{`,
    (index) => `"${short(index)}":1`,
    ',"0":2}}}',
    maxJsonMembers - 1,
  ),
  'a duplicate key behind more members than there may be': filled(`${start}{`, (index) => `"${short(index)}":1`, ',"0":2}}}'),
  'small numbers': filled(`${start}[`, () => '1', ']}}'),
  'numbers that are not exact': filled(`${start}[`, () => '99999999999999999999', ']}}'),
  'long numbers, the last of which is not exact': filled(
    `${start}[`,
    () => '1234567890123456.5e10',
    ',9007199254740993]}}',
    maxJsonValues - 10,
  ),
  'one number that fills the body': `${start}${'1'.repeat(room)}}}`,
  'one fraction that fills the body': `${start}0.${'1'.repeat(room)}}}`,
  'one exponent that fills the body': `${start}1e${'0'.repeat(room)}9}}`,
  'a number that is too large behind many texts': filled(`${start}[`, () => `"${'x'.repeat(49)}"`, ',1e999]}}', maxJsonValues - 10),
  'empty objects': filled(`${start}[`, () => '{}', ']}}'),
  'empty texts': filled(`${start}[`, () => '""', ']}}'),
  'brackets that never close': `${start}${'['.repeat(room)}`,
  'brackets that are too deep': `${start}${'['.repeat(room / 2)}${']'.repeat(room / 2)}}}`,
  'a text that never ends': `${start}"${'x'.repeat(room)}`,
  'a text of escapes that holds half of a surrogate pair': `${start}"${'\\u0041'.repeat(room / 6 - 2)}\\ud800"}}`,
  'a text of backslashes that ends in NUL': `${start}"${'\\\\'.repeat(room / 2 - 4)}\\u0000"}}`,
  'white space alone': ' '.repeat(room),
  'white space, and an empty object': `${' '.repeat(room)}{}`,
  'a list that breaks off': `${start}[${'1,'.repeat(room / 2)}`,
  'what is no JSON any more at its end': `${start}"${'x'.repeat(room)}"}} x`,
  'an action with a name that fills the body': JSON.stringify({ action: 'a'.repeat(room), params: {} }),
}

describe.each(routesOf(methods.values()).filter(({ body }) => body === '*'))('$httpMethod $endpoint', (route) => {
  const read = requestReader(route)
  const refusal = (body: Uint8Array): MeshError | undefined => {
    try {
      read({ params: {}, query: '', headers: {}, body })
      return undefined
    } catch (error) {
      expect(error).toBeInstanceOf(MeshError)
      return error as MeshError
    }
  }

  test.each(Object.entries(bodies))(`is answered at once and in few words: %s`, async (_what, text) => {
    const body = Buffer.from(text)
    expect(body.length).toBeLessThanOrEqual(bodyLimit)
    const error = refusal(body)
    expect(error).toBeDefined()
    expect(Buffer.byteLength(toProblem(error!, '').body)).toBeLessThan(maxBytes)
    expect(await minMs(() => toStatus(refusal(body)!))).toBeLessThan(maxMs)
  })
})

describe('the list of what is wrong', () => {
  const preview = requestReader(routesOf(methods.values()).find(({ endpoint }) => endpoint === '/actions/preview')!)
  const problemOf = (fields: number) => {
    const body = Buffer.from(filled('{"action":"a",', (index) => `"u${index}":1`, '}', fields))
    try {
      preview({ params: {}, query: '', headers: {}, body })
    } catch (error) {
      return {
        error: error as MeshError,
        ...(JSON.parse(toProblem(error as MeshError, '').body) as { detail: string; violations: unknown[] }),
      }
    }
    throw new Error('was accepted')
  }

  test(`has the first ${maxViolations}, and the sentence says how many more there are`, () => {
    const { violations, detail, error } = problemOf(maxViolations + 80)
    expect(violations).toHaveLength(maxViolations)
    expect(violations[0]).toEqual({ field: 'u0', description: 'is not a field of this request' })
    expect(detail).toBe('The request is not valid: u0 is not a field of this request. 80 more fields are wrong and not listed.')
    expect(toStatus(error).details).toMatch(/ \d+ more fields are wrong and not listed\.$/)
  })

  test('says nothing of more where there are none', () => {
    expect(problemOf(maxViolations).detail).toBe('The request is not valid: u0 is not a field of this request.')
    expect(problemOf(maxViolations + 1).detail).toMatch(/ 1 more field is wrong and not listed\.$/)
  })
})

describe('over HTTP', () => {
  let gateway: TestGateway
  beforeAll(async () => {
    gateway = await startGateway()
    await gateway.call('/actions')
  })
  afterAll(() => gateway.stop())

  /** Nearly as much as headers and path may have together. */
  const max = 15_000
  test.each([
    ['a query of names', { url: `/actions/runs?${'a&'.repeat(max / 2)}` }],
    ['a query of known names', { url: `/actions/runs?${'status=a&'.repeat(max / 9)}` }],
    ['a query of long paths', { url: `/actions/runs?${'a.'.repeat(max / 2)}` }],
    ['a query of escapes', { url: `/actions/runs?status=${'%41'.repeat(max / 3)}%zz` }],
    ['a query of signs of equality', { url: `/actions/runs?${'='.repeat(max)}` }],
    ['a query of what almost names a key', { url: `/actions/runs?${'api_key&'.repeat(max / 8)}` }],
    ['a path of slashes', { url: '/'.repeat(max) }],
    ['a path of escapes', { url: `/actions/runs/${'%41'.repeat(340)}%zz` }],
    ['a content type of parameters', { headers: { 'content-type': `application/json${'; a=b'.repeat(max / 5)}, x` }, body: true }],
    ['a content type of blanks', { headers: { 'content-type': `application/json;${' '.repeat(max)}charset=x` }, body: true }],
    ['a content type of quotes', { headers: { 'content-type': `application/json; a="${'\\"'.repeat(max / 2)}` }, body: true }],
    ['a key of blanks', { headers: { authorization: `Bearer ${' '.repeat(max)}x` } }],
    ['a key of letters', { headers: { authorization: `Bearer rly_test_${'a'.repeat(max)}` } }],
    ['a traceparent', { headers: { traceparent: `00-${'0'.repeat(max)}` } }],
    ['a signature', { headers: { 'x-signature': 'a'.repeat(max), 'content-type': 'application/json' }, body: true }],
    [
      'an Idempotency-Key',
      { headers: { 'idempotency-key': 'k'.repeat(max), 'content-type': 'application/json' }, url: '/actions/execute', body: true },
    ],
    ['an origin', { headers: { origin: `https://${'a.'.repeat(max / 2)}` } }],
    ['an address', { headers: { 'x-forwarded-for': '1.1.1.1,'.repeat(max / 8) } }],
    ['an Accept', { url: '/nothing', headers: { accept: 'a/b;q=0.1,'.repeat(max / 10) } }],
    ['cookies', { url: '/oauth/start/x', headers: { cookie: 'a=b; '.repeat(max / 5) } }],
    ['many headers', { headers: Object.fromEntries(Array.from({ length: 1500 }, (_, index) => [`x${index}`, 'a'])) }],
  ] as [string, { url?: string; headers?: Record<string, string>; body?: true }][])(
    'is answered at once: %s',
    async (_what, { url = '/actions/preview', headers = {}, body }) => {
      const ask = () =>
        gateway.app.inject({
          method: body === undefined ? 'GET' : 'POST',
          url,
          headers: { authorization: `Bearer ${apiKey}`, ...headers },
          ...(body === undefined ? {} : { payload: '{"action":"a"}' }),
        })
      const response = await ask()
      expect(response.statusCode).not.toBe(500)
      expect(response.rawPayload.length).toBeLessThan(maxBytes)
      expect(await minMs(ask)).toBeLessThan(maxMs)
    },
  )
})
