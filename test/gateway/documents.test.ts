import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { methods } from '#mesh/grpc/descriptors.ts'
import { docsPage } from '../../gateway/docs/docs-page.ts'
import { openApi } from '../../gateway/docs/openapi.ts'
import { documentedReasons } from '../../gateway/docs/reasons.ts'
import { routesOf } from '../../gateway/contract/route-table.ts'
import { expectGolden } from '../golden/golden.ts'
import { Type, contract } from './contracts.ts'

const reasons = documentedReasons()
const document = openApi(routesOf(methods.values()), { version: '0.0.0', reasons })
const page = docsPage(document, reasons)

describe('the OpenAPI document', () => {
  test('is the one that was promised', () => {
    expectGolden('openapi.json', `${JSON.stringify(document, null, 2)}\n`)
  })

  test('refers to nothing that it does not have', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1]!)
    expect(references.length).toBeGreaterThan(10)
    for (const reference of references) {
      const found = reference.split('/').reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], document)
      expect(found, reference).toBeDefined()
    }
  })

  test('has a parameter for every variable of its paths', () => {
    for (const [path, operations] of Object.entries(document.paths)) {
      const variables = [...path.matchAll(/\{([^}]+)\}/g)].map((match) => match[1])
      for (const { parameters } of Object.values(operations)) {
        expect(parameters.filter((each) => each.in === 'path').map(({ name }) => name)).toEqual(variables)
      }
    }
  })

  test('shows headers of the contract as headers, and not in the body', () => {
    const { parameters } = document.paths['/actions/execute']!.post!
    expect(parameters).toMatchObject([{ name: 'Idempotency-Key', in: 'header', required: false }])
    expect(document.components.schemas.ExecuteActionRequest!.properties).not.toHaveProperty('idempotency_key')
  })

  test('has every reason that can be answered', () => {
    const { reason } = document.components.schemas.Problem!.properties as { reason: { enum: string[] } }
    expect(reason.enum).toEqual(expect.arrayContaining(['KEY_REUSED', 'RATE_LIMITED', 'INTERNAL']))
  })

  test('follows contracts that it has not seen', () => {
    const other = contract(
      {
        Inner: { a: { type: Type.BOOL } },
        In: {
          id: { type: Type.STRING },
          inner: { type: Type.MESSAGE, of: 'relay.test.v1.Inner' },
          tags: { type: Type.STRING, list: true },
        },
      },
      {
        Do: { permission: 'a:b', input: 'In', output: 'In', rule: { pattern: { case: 'post', value: '/things/{id}:do' }, body: 'inner' } },
      },
    )
    const { paths } = openApi(routesOf(other.values()), { version: '1', reasons: [] })
    expect(paths['/things/{id}:do']!.post).toMatchObject({
      parameters: [
        { name: 'id', in: 'path' },
        { name: 'tags', in: 'query', schema: { type: 'array', items: { type: 'string' } } },
      ],
      requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/InnerInput' } } } },
    })
  })
})

describe('the page at /docs', () => {
  test('lists every call and every reason under its own anchor', () => {
    for (const operations of Object.values(document.paths))
      for (const { operationId } of Object.values(operations)) expect(page.html).toContain(`id="${operationId}"`)
    for (const { reason } of reasons) expect(page.html).toContain(`id="${reason}"`)
    const anchors = [...page.html.matchAll(/id="([^"]+)"/g)].map((match) => match[1])
    expect(new Set(anchors).size).toBe(anchors.length)
  })

  test('loads nothing: no file of a script, no image, no address elsewhere', () => {
    const [before, script, after] = page.html.split(/<script type="module">|<\/script>/)
    expect(before! + after!).not.toMatch(/<(?:script|img|link|iframe|object)|src=|@import|url\(|\son\w+=/i)
    // What ends a script within one.
    expect(script).not.toMatch(/<\/?script|<!--/i)
    expect(script).not.toMatch(/\bimport\b|innerHTML|\beval\b|new Function|localStorage|sessionStorage|document\.cookie/)
    expect([...page.html.matchAll(/href="([^"]*)"/g)].every(([, href]) => href!.startsWith('/') || href!.startsWith('#'))).toBe(true)
  })

  test('allows its own style and its own script alone, and requests to its own origin', () => {
    const hashOf = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
    const style = /<style>([\s\S]*?)<\/style>/.exec(page.html)![1]!
    const script = /<script type="module">([\s\S]*?)<\/script>/.exec(page.html)![1]!
    expect(page.contentSecurityPolicy).toContain(`style-src ${hashOf(style)}; script-src ${hashOf(script)}; connect-src 'self';`)
    expect(page.contentSecurityPolicy).toContain("default-src 'none'")
    expect(page.html).not.toContain('style="')
  })

  test('shows what contracts and tables say as text, whatever they say', () => {
    const hostile = docsPage(document, [
      { reason: 'X', code: 'INTERNAL', status: 500, meaning: '<script>alert("1")</script>', domain: 'x' },
    ])
    expect(hostile.html).toContain('&lt;script&gt;alert(&quot;1&quot;)')
  })
})
