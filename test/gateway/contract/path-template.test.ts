import { describe, expect, test } from 'vitest'
import { formatPathTemplate, parsePathTemplate, rawPattern, toRouterPath } from '../../../gateway/contract/path-template.ts'

describe('a path template', () => {
  test.each([
    ['/', '/', []],
    ['/actions', '/actions', []],
    ['/actions/runs/{run_id}', '/actions/runs/:p2', [{ field: ['run_id'], parameter: 'p2' }]],
    ['/a/{b.c=*}/d', '/a/:p1/d', [{ field: ['b', 'c'], parameter: 'p1' }]],
    ['/a/*/b', '/a/:p1/b', []],
    ['/files/{name=**}', '/files/*', [{ field: ['name'], parameter: '*' }]],
    ['/files/**', '/files/*', []],
    ['/runs/{id}:cancel', '/runs/:p1(.+)::cancel', [{ field: ['id'], parameter: 'p1' }]],
    ['/runs:purge', '/runs::purge', []],
    ['/.well-known/a-b_c~d', '/.well-known/a-b_c~d', []],
  ])('%s is the router path %s', (template, path, variables) => {
    expect(toRouterPath(parsePathTemplate(template))).toEqual({ path, variables })
  })

  test.each([
    ['/a.b/{c}', ['/a.b/x', '/a.b/%zz', '/a.b/:'], ['/a.b', '/a.b/', '/a.b/x/y', '/aXb/x', '/a.b/x/', 'a.b/x', '/q/a.b/x']],
    ['/files/{name=**}', ['/files/x', '/files/x/%zz'], ['/files', '/files/']],
    ['/runs/{id}:cancel', ['/runs/%zz:cancel'], ['/runs/%zz', '/runs/%zz:cancelled']],
    ['/', ['/'], ['/x', '']],
  ])('%s knows the paths that are meant for it as they came, however they are escaped', (template, meant, others) => {
    const pattern = rawPattern(parsePathTemplate(template))
    for (const path of meant) expect(path).toMatch(pattern)
    for (const path of others) expect(path).not.toMatch(pattern)
  })

  test.each([
    ['', 'does not begin with a slash'],
    ['actions', 'does not begin with a slash'],
    ['/a/', 'has an empty segment'],
    ['//a', 'has an empty segment'],
    ['/a/**/b', 'has ** before its end'],
    ['/{a=**}:b', 'has ** before its end'],
    ['/{a=b/*}', 'only * and ** are supported inside a variable'],
    ['/{a=b}', 'only * and ** are supported inside a variable'],
    ['/{a}{b}', 'neither a literal nor one variable'],
    ['/x{a}', 'neither a literal nor one variable'],
    ['/{a', 'neither a literal nor one variable'],
    ['/{}', 'which is not a field path'],
    ['/{a..b}', 'which is not a field path'],
    ['/{A}', 'which is not a field path'],
    ['/{a}/{a}', 'names a twice'],
    ['/a b', 'characters a URL would escape'],
    ['/a%20b', 'characters a URL would escape'],
    ['/é', 'characters a URL would escape'],
    ['/a?b', 'characters a URL would escape'],
    ['/a/../b', 'has a dot segment'],
    ['/./a', 'has a dot segment'],
    ['/a:', 'has a verb that is empty'],
    ['/a::b', 'characters a URL would escape'],
  ])('%j is refused, quoted, with what is wrong', (template, message) => {
    expect(() => parsePathTemplate(template)).toThrow(message)
    expect(() => parsePathTemplate(template)).toThrow(JSON.stringify(template))
  })

  test('is written as documents and metrics name it', () => {
    expect(formatPathTemplate(parsePathTemplate('/a/{b.c=*}/*/{d=**}'))).toBe('/a/{b.c}/*/{d=**}')
    expect(formatPathTemplate(parsePathTemplate('/a/{b}:undo'))).toBe('/a/{b}:undo')
  })
})
