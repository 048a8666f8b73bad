import { describe, expect, test } from 'vitest'
import { type Code, MeshError, codes } from '#mesh/errors.ts'
import { statusOf, toProblem } from '#mesh/problem.ts'

const error = (reason: string, code: Code, details: ConstructorParameters<typeof MeshError>[4] = {}) =>
  new MeshError('test', reason, code, 'What is wrong.', details)
const body = (each: MeshError) => JSON.parse(toProblem(each, 'an-id').body) as Record<string, unknown>

describe('a problem', () => {
  test('says its type, title, status, detail, reason and request id', () => {
    expect(toProblem(error('KEY_REUSED', 'INVALID_ARGUMENT'), 'an-id')).toEqual({
      status: 422,
      headers: { 'content-type': 'application/problem+json; charset=utf-8' },
      body:
        '{"type":"/docs#KEY_REUSED","title":"Key reused","status":422,' +
        '"detail":"What is wrong.","reason":"KEY_REUSED","request_id":"an-id"}',
    })
  })

  test('lists violations, and only where there are any', () => {
    expect(body(error('X', 'INTERNAL'))).not.toHaveProperty('violations')
    expect(body(error('X', 'INTERNAL', { violations: [{ field: 'a.b', description: 'is wrong' }] })).violations).toEqual([
      { field: 'a.b', description: 'is wrong' },
    ])
  })

  test('carries facts as members of its own, which never replace the standard ones', () => {
    expect(body(error('X', 'ABORTED', { metadata: { run_id: 'r', status: '200', request_id: 'theirs' } }))).toMatchObject({
      run_id: 'r',
      status: 409,
      request_id: 'an-id',
    })
  })

  test('says where to connect an account that is wanting', () => {
    const metadata = { authorize_path: '/oauth/google/authorize' }
    expect(body(error('REAUTH_REQUIRED', 'FAILED_PRECONDITION', { metadata }))).toMatchObject({
      status: 409,
      reason: 'REAUTH_REQUIRED',
      authorize_path: '/oauth/google/authorize',
    })
  })

  test('says nothing of its cause', () => {
    expect(toProblem(error('X', 'INTERNAL', { cause: new Error('password=hunter2') }), 'an-id').body).not.toContain('hunter2')
  })
})

describe('the status', () => {
  test.each([
    ['KEY_REUSED', 'INVALID_ARGUMENT', 422],
    ['TARGET_REFUSED', 'INVALID_ARGUMENT', 422],
    ['IN_PROGRESS', 'ABORTED', 409],
    ['PREVIEW_ALREADY_RUN', 'ALREADY_EXISTS', 409],
    ['PREVIEW_INVALID', 'NOT_FOUND', 404],
    ['ACTIONS_DISABLED', 'UNIMPLEMENTED', 501],
    ['ACTION_UNAVAILABLE', 'UNIMPLEMENTED', 501],
    ['RATE_LIMITED', 'RESOURCE_EXHAUSTED', 429],
    ['OVERLOADED', 'RESOURCE_EXHAUSTED', 503],
    ['NOT_CONNECTED', 'FAILED_PRECONDITION', 409],
    ['CONNECTION_CHANGED', 'FAILED_PRECONDITION', 409],
    ['REAUTH_REQUIRED', 'FAILED_PRECONDITION', 409],
    ['PROVIDER_NOT_CONFIGURED', 'UNIMPLEMENTED', 501],
    ['SERVICE_NOT_CONFIGURED', 'UNIMPLEMENTED', 501],
    ['PROVIDER_UNAVAILABLE', 'UNAVAILABLE', 503],
    ['DEPENDENCY_UNAVAILABLE', 'UNAVAILABLE', 503],
    ['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED', 504],
    ['METHOD_NOT_ALLOWED', 'UNIMPLEMENTED', 405],
  ] as [string, Code, number][])('of %s (%s) is %i', (reason, code, status) => {
    expect(statusOf({ reason, code })).toBe(status)
  })

  test('of every gRPC code is that of an error', () => {
    for (const code of Object.keys(codes) as Code[])
      expect(statusOf({ reason: 'ANY', code })).toSatisfy((status: number) => status >= 400 && status < 600)
  })

  test('of a code that is none is 500', () => {
    expect(statusOf({ reason: 'ANY', code: 'constructor' as Code })).toBe(500)
    expect(statusOf({ reason: 'constructor', code: 'NOT_FOUND' })).toBe(404)
  })
})

describe('headers', () => {
  const retryAfter = (each: MeshError) => toProblem(each, 'an-id').headers['retry-after']

  test('say when to come back in whole seconds, at least one', () => {
    expect(retryAfter(error('X', 'ABORTED', { retryAfterMs: 1 }))).toBe('1')
    expect(retryAfter(error('X', 'ABORTED', { retryAfterMs: 0 }))).toBe('1')
    expect(retryAfter(error('X', 'ABORTED', { retryAfterMs: 1001 }))).toBe('2')
    expect(retryAfter(error('X', 'RESOURCE_EXHAUSTED', { retryAfterMs: 42_000 }))).toBe('42')
  })

  test('say so always with 429, 503 and a run in progress, and otherwise only where it is known', () => {
    expect(retryAfter(error('X', 'RESOURCE_EXHAUSTED'))).toBe('1')
    expect(retryAfter(error('X', 'UNAVAILABLE'))).toBe('1')
    expect(retryAfter(error('IN_PROGRESS', 'ABORTED'))).toBe('1')
    expect(retryAfter(error('X', 'ABORTED'))).toBeUndefined()
    expect(retryAfter(error('X', 'INTERNAL'))).toBeUndefined()
  })

  test('say how to authenticate with every 401', () => {
    expect(toProblem(error('X', 'UNAUTHENTICATED'), 'an-id').headers['www-authenticate']).toBe('Bearer realm="relay"')
    expect(toProblem(error('X', 'PERMISSION_DENIED'), 'an-id').headers).not.toHaveProperty('www-authenticate')
  })
})
