import { create } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { methods, registry } from '#mesh/grpc/descriptors.ts'
import { formatPathTemplate } from '../../../gateway/contract/path-template.ts'
import { routesOf } from '../../../gateway/contract/route-table.ts'
import { expectGolden } from '../../golden/golden.ts'
import { type MethodWords, Type, contract } from '../contracts.ts'

const get = (value: string) => ({ pattern: { case: 'get', value } })
const routesFor = (words: MethodWords, fields: Parameters<typeof contract>[0] = {}) => routesOf(contract(fields, { Do: words }).values())

describe('the route table', () => {
  test('is the one that was promised', () => {
    const lines = routesOf(methods.values()).map(
      ({ httpMethod, template, body, method, permission, upstream }) =>
        `${httpMethod} ${formatPathTemplate(template)} -> ${upstream} ${method.path}, ` +
        `body ${typeof body === 'object' ? body.name : (body ?? 'none')}, ${permission ?? 'a page for anybody'}`,
    )
    expectGolden('routes.txt', `${lines.join('\n')}\n`)
  })

  test('has no method that only peers may call', () => {
    const routed = new Set(routesOf(methods.values()).map(({ method }) => method.path))
    const peersOnly = [...methods.values()].filter(({ peers }) => peers.length > 0)
    expect(peersOnly.length).toBeGreaterThan(0)
    expect(peersOnly.filter(({ path }) => routed.has(path))).toEqual([])
  })

  test('asks for a permission wherever it answers anything but a page', () => {
    for (const { method, permission, endpoint } of routesOf(methods.values()))
      expect(permission === undefined, endpoint).toBe(method.descriptor.output.typeName === 'relay.mesh.v1.Page')
  })
})

describe('a contract', () => {
  test('without a route is not served', () => {
    expect(routesFor({ permission: 'a:b' })).toEqual([])
  })

  test('may bind a method to several routes', () => {
    const rule = { ...get('/a'), additionalBindings: [{ pattern: { case: 'delete', value: '/b' } }] }
    expect(routesFor({ permission: 'a:b', rule }).map(({ httpMethod, endpoint }) => `${httpMethod} ${endpoint}`)).toEqual([
      'GET /a',
      'DELETE /b',
    ])
  })

  test('may answer a page to anybody', () => {
    const routes = routesFor({ open: true, output: 'relay.mesh.v1.Page', rule: get('/a') })
    expect(routes).toMatchObject([{ endpoint: '/a', permission: undefined }])
  })

  test.each([
    ['a route for anybody that is no page', { rule: get('/a'), open: true }, /an open method must return a Page/],
    ['a page for peers', { rule: get('/a'), peers: ['*'], output: 'relay.mesh.v1.Page' }, /has a route and no permission/],
    ['a page for those with a permission', { rule: get('/a'), permission: 'a:b', output: 'relay.mesh.v1.Page' }, /shows no key/],
    [
      'a page that is posted to without a form',
      { rule: { pattern: { case: 'post', value: '/a' }, body: '' }, open: true, output: 'relay.mesh.v1.Page' },
      /returns a Page for POST/,
    ],
    [
      'a page that is put',
      { rule: { pattern: { case: 'put', value: '/a' }, body: '*' }, open: true, output: 'relay.mesh.v1.Page' },
      /returns a Page for PUT/,
    ],
    ['a route for peers', { rule: get('/a'), peers: ['*'] }, /has a route and no permission/],
    ['a route without permission', { rule: get('/a') }, /has a route and no permission/],
    [
      'a custom method',
      { permission: 'a:b', rule: { pattern: { case: 'custom', value: create(registry.getMessage('google.api.CustomHttpPattern')!) } } },
      /pattern custom, which is not supported/,
    ],
    ['a response_body', { permission: 'a:b', rule: { ...get('/a'), responseBody: 'x' } }, /response_body/],
    ['a variable that is no field', { permission: 'a:b', rule: get('/a/{b}') }, /binds b, which is not a scalar field/],
    ['a body on GET', { permission: 'a:b', rule: { ...get('/a'), body: '*' } }, /GET does not carry/],
    [
      'a body that is no message',
      { permission: 'a:b', input: 'In', rule: { pattern: { case: 'post', value: '/a' }, body: 'name' } },
      /not a message field/,
    ],
    ['a template that is none', { permission: 'a:b', rule: get('a') }, /does not begin with a slash/],
  ] as [string, MethodWords, RegExp][])('with %s stops the start, by name', (_what, words, message) => {
    expect(() => routesFor(words, { In: { name: { type: Type.STRING } } })).toThrow(message)
  })

  test('that claims the route of another stops the start', () => {
    const both = contract(
      { In: { x: { type: Type.STRING } } },
      { One: { permission: 'a:b', rule: get('/a/{x}'), input: 'In' }, Two: { permission: 'a:b', rule: get('/a/*') } },
    )
    expect(() => routesOf(both.values())).toThrow('two methods claim GET /a/*')
  })
})
