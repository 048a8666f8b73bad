import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { MeshError } from '#mesh/errors.ts'
import { executed } from '../fakes/actions-service.ts'
import { type TestGateway, startGateway } from '../gateway/gateway.ts'
import { expectGolden } from './golden.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.stop())
let usual: TestGateway['actions']['handlers']
beforeAll(() => {
  usual = gateway.actions.handlers
})
beforeEach(() => void (gateway.actions.handlers = { ...usual }))

/** The body as it came, but for the request id, which must be the one in the header. */
async function expectBytes(name: string, answer: Promise<Response>, status: number, type: string): Promise<void> {
  const response = await answer
  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toBe(type)
  const requestId = response.headers.get('x-request-id')!
  expect(requestId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  const text = await response.text()
  expect(text).toContain(`"request_id":"${requestId}"`)
  expectGolden(name, `${text.replaceAll(requestId, '<request_id>')}\n`)
}

const json = 'application/json; charset=utf-8'
const problem = 'application/problem+json; charset=utf-8'
const execute = () => gateway.call('/actions/execute', { body: { preview_id: 'p' }, headers: { 'Idempotency-Key': 'test-1728201234' } })

describe('the bytes of', () => {
  test('a list of actions are as promised', () => expectBytes('list-actions.json', gateway.call('/actions'), 200, json))

  test('a preview are as promised', () => {
    const body = { action: 'webhook.save', params: { url: 'https://example.com/hook', method: 'POST', body: { test: 'hello' } } }
    return expectBytes('preview.json', gateway.call('/actions/preview', { body }), 200, json)
  })

  test('an execute that succeeded are as promised', () => expectBytes('execute-success.json', execute(), 200, json))

  test('an execute that failed are as promised', () => {
    gateway.actions.handlers.executeAction = async (_request, call) =>
      executed(call.requestId, {
        status: 'failed',
        result: { status_code: 500, response: 'no' },
        error: 'HTTP_ERROR: 500 no',
        durationMs: 0,
      })
    return expectBytes('execute-failed.json', execute(), 200, json)
  })

  test('an execute whose end is unknown are as promised', () => {
    gateway.actions.handlers.executeAction = async (_request, call) =>
      executed(call.requestId, { status: 'unknown', result: undefined, error: 'TIMEOUT: no answer' })
    return expectBytes('execute-unknown.json', execute(), 200, json)
  })

  test('a list of runs are as promised', () => expectBytes('list-runs.json', gateway.call('/actions/runs'), 200, json))

  test('a run are as promised', () =>
    expectBytes('get-run.json', gateway.call('/actions/runs/3a033cc1-0000-4000-8000-000000000001'), 200, json))

  test('a refusal of a service are as promised', () => {
    gateway.actions.handlers.executeAction = () =>
      Promise.reject(
        new MeshError('actions', 'PREVIEW_ALREADY_RUN', 'ALREADY_EXISTS', 'This preview was already run.', { metadata: { run_id: 'r-1' } }),
      )
    return expectBytes('problem-service.json', execute(), 409, problem)
  })

  test('a request that is not valid are as promised', () =>
    expectBytes('problem-invalid.json', gateway.call('/actions/preview', { body: { action: '', params: {}, extra: 1 } }), 400, problem))

  test('a path that is none are as promised', () => expectBytes('problem-not-found.json', gateway.call('/nope'), 404, problem))
})
