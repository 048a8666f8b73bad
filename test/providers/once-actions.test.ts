/** What holds for every action that creates one thing and finds it again (services/actions/adapters/once.ts), whatever the provider. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { githubCommentAction } from '#providers/github/comment-issue.ts'
import { githubIssueAction } from '#providers/github/create-issue.ts'
import { sandbox as github } from '#providers/github/sandbox.ts'
import { slackMessageAction } from '#providers/slack/post-message.ts'
import { sandbox as slack } from '#providers/slack/sandbox.ts'
import type { Adapter } from '../../services/actions/adapter.ts'
import { apiReasons } from '../../services/actions/adapters/provider-http.ts'
import type { OnceOptions } from '../../services/actions/adapters/once.ts'
import { LeaseLostError } from '../../services/actions/runs/lease.ts'
import type { Fault } from '../fakes/provider-api.ts'
import { type FakeProviderApi, startSandboxApi } from '../fakes/sandbox-api.ts'
import { closing, expectError } from '../services/actions/adapter-harness.ts'
import { type CrashPoint, Life, account, driven, stored } from '../services/actions/provider-harness.ts'

interface Case {
  name: string
  start: () => Promise<FakeProviderApi>
  // oxlint-disable-next-line typescript/no-explicit-any -- actions of whatever parameters
  make: (options: OnceOptions) => Adapter<any>
  params: Record<string, unknown>
  /** What has to be there first. */
  before?: (api: FakeProviderApi) => Promise<unknown>
  brief: string
}

const issue = { owner: 'example', repo: 'playground', title: 'It is broken', body: 'See above.' }
const cases: Case[] = [
  {
    name: 'a message in Slack',
    start: () =>
      startSandboxApi(slack, {
        scopes: ['chat:write', 'channels:history'],
        create: /^\/api\/chat\.postMessage$/,
        find: /^\/api\/conversations\.history$/,
      }),
    make: slackMessageAction,
    params: { channel: 'C0GENERAL1', text: 'Hello & <!channel>\nall' },
    brief: 'Hello & <!channel>',
  },
  {
    name: 'an issue at GitHub',
    start: () =>
      startSandboxApi(github, {
        scopes: ['repo'],
        create: /^\/api\/repos\/[^/]+\/[^/]+\/issues$/,
        find: /^\/api\/repos\/[^/]+\/[^/]+\/issues$/,
      }),
    make: githubIssueAction,
    params: issue,
    brief: 'It is broken',
  },
  {
    name: 'a comment at GitHub',
    start: () =>
      startSandboxApi(github, {
        scopes: ['public_repo'],
        create: /^\/api\/repos\/[^/]+\/[^/]+\/issues(?:\/1\/comments)?$/,
        find: /^\/api\/repos\/[^/]+\/[^/]+\/issues\/1\/comments$/,
      }),
    make: githubCommentAction,
    params: { owner: 'example', repo: 'playground', issue_number: 1, body: 'Me too.' },
    before: (api) =>
      fetch(`${api.url}/api/repos/example/playground/issues`, {
        method: 'POST',
        headers: { authorization: 'Bearer token-1', 'content-type': 'application/json', 'user-agent': 'test' },
        body: JSON.stringify({ title: 'First' }),
      }),
    brief: 'Me too.',
  },
]

async function openHarness({ start, make, params, before }: Case, options: Partial<OnceOptions> = {}) {
  const api = closing(await start())
  await before?.(api)
  const base = api.calls.length
  const there = api.sandbox.list().length
  const adapter = make({
    connections: account(),
    baseUrl: new URL(`${api.url}/api`),
    retryMs: 1,
    timeoutMs: 2_000,
    pollIntervalMs: [0, 1, 2],
    ...options,
  })
  return {
    api,
    adapter,
    params: await stored(adapter, params),
    created: () => api.sandbox.list().length - there,
    asked: () => api.calls.slice(base).filter(({ route }) => route === 'create').length,
  }
}

describe.each(cases)('$name', (its) => {
  const expectEnded = (outcome: Parameters<typeof expectError>[0], status: 'failed' | 'unknown', reason: RegExp) => {
    const its = outcome.status === 'success' ? '' : outcome.error.reason
    expect(its).toMatch(reason)
    return expectError(outcome, status, its, [its])
  }

  test('is created once', async () => {
    const { adapter, params, created, asked } = await openHarness(its)
    expect(await driven(adapter, params, new Life())).toMatchObject({ status: 'success' })
    expect([created(), asked()]).toEqual([1, 1])
  })

  test.each<[string, Fault[], RegExp]>([
    ['too many requests', [{ status: 429 }], /^PROVIDER_RATE_LIMITED$/],
    ['a refusal', [{ status: 403 }], /^PROVIDER_FORBIDDEN$/],
    ['a request that is not understood', [{ status: 400 }], /^PROVIDER_REFUSED$/],
    ['two refused tokens', [{ status: 401 }, { status: 401 }], /^PROVIDER_UNAUTHORIZED$/],
  ])('is known not to be created after %s', async (_, faults, reason) => {
    const { api, adapter, params, created, asked } = await openHarness(its)
    api.tokens.add('token-2')
    api.inject('create', ...faults)
    expectEnded(await driven(adapter, params, new Life()), 'failed', reason)
    expect([created(), asked()]).toEqual([0, faults.length])
  })

  test.each<[string, Fault]>([
    ['the answer is lost', 'answer lost'],
    ['an error is answered all the same', { instead: { status: 503 } }],
    ['nonsense is answered', { instead: { status: 200, body: { hello: 1 } } }],
  ])('is found where it was created and %s', async (_, fault) => {
    const { api, adapter, params, created, asked } = await openHarness(its)
    api.inject('create', fault)
    expect(await driven(adapter, params, new Life())).toMatchObject({ status: 'success' })
    expect([created(), asked()]).toEqual([1, 1])
  })

  test('is in doubt where the connection is cut and it does not appear', async () => {
    const { api, adapter, params, asked } = await openHarness(its)
    api.inject('create', 'cut')
    const message = expectEnded(await driven(adapter, params, new Life()), 'unknown', /^PROVIDER_CONNECTION_LOST$/)
    expect(message).toContain(`look for "${its.brief}`)
    expect(asked()).toBe(1)
  })

  test('is created by the next holder where the first was lost before anything', async () => {
    const { adapter, params, created, asked } = await openHarness(its)
    expect(await driven(adapter, params, new Life(), ['before the point'])).toMatchObject({ status: 'success' })
    expect([created(), asked()]).toEqual([1, 1])
  })

  test.each<CrashPoint>(['after the point', 'before the effect'])(
    'is not asked for again by the next holder where the first was lost %s',
    async (crash) => {
      const { adapter, params, created, asked } = await openHarness(its)
      expectEnded(await driven(adapter, params, new Life(), [crash]), 'unknown', /_OUTCOME_LOST$/)
      expect([created(), asked()]).toEqual([0, 0])
    },
  )

  test('is known not to be created where it is not there long after a crash, and in doubt before', async () => {
    const { adapter, params } = await openHarness(its)
    const life = new Life()
    await expect(adapter.execute(params, life.attempt('before the effect'))).rejects.toThrow('before the effect')
    expectEnded(await adapter.reconcile(params, life.attempt(undefined, { recordedAgoMs: 1_000 })), 'unknown', /_OUTCOME_LOST$/)
    expectEnded(
      await adapter.reconcile(params, life.attempt(undefined, { recordedAgoMs: 11 * 60_000 })),
      'failed',
      /_NOT_(POSTED|CREATED)$/,
    )
  })

  test('is found by the next holder where the first was lost while it was created', async () => {
    const { api, adapter, params, created, asked } = await openHarness(its)
    const [life, made, lost] = [new Life(), Promise.withResolvers<void>(), new AbortController()]
    api.inject('create', { held: made.promise })
    const first = adapter.execute(params, life.attempt(undefined, { signal: lost.signal }))
    await expect.poll(asked).toBe(1)
    lost.abort()
    made.resolve()
    await first
    expect(await adapter.reconcile(params, life.attempt())).toMatchObject({ status: 'success' })
    expect([created(), asked()]).toEqual([1, 1])
  })

  test('is not asked for by a holder that has lost the run', async () => {
    const { adapter, params, asked } = await openHarness(its)
    const life = new Life()
    const first = life.attempt()
    life.attempt()
    await expect(adapter.execute(params, first)).rejects.toThrow(LeaseLostError)
    expect(asked()).toBe(0)
  })

  test('of one run is not taken for that of another', async () => {
    const { api, adapter, params, created } = await openHarness(its)
    expect(await driven(adapter, params, new Life())).toMatchObject({ status: 'success' })
    api.inject('create', 'cut')
    const other = await stored(adapter, its.params)
    const life = new Life('00000000-0000-4000-8000-0000000000ff')
    expectEnded(await driven(adapter, other, life), 'unknown', /^PROVIDER_CONNECTION_LOST$/)
    expect(created()).toBe(1)
  })

  test('is called what it is, whatever goes wrong: never created twice, there after a success, not there after a failure', async () => {
    const fault = fc.constantFrom<Fault | undefined>(undefined, { status: 401 }, { status: 429 }, { status: 500 }, 'cut', 'answer lost', {
      instead: { status: 502 },
    })
    const crash = fc.constantFrom<CrashPoint | undefined>(undefined, 'before the point', 'after the point', 'before the effect')
    const { api, adapter, created, asked } = await openHarness(its, { pollIntervalMs: [0, 1] })
    api.tokens.add('token-2')
    let runs = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 2 }),
        fc.array(fault, { maxLength: 3 }),
        fc.array(crash, { maxLength: 3 }),
        async (creates, finds, crashes) => {
          api.reset()
          api.inject('create', ...creates)
          api.inject('find', ...finds)
          const [there, before] = [created(), asked()]
          runs += 1
          const life = new Life(`00000000-0000-4000-8000-${String(runs).padStart(12, '0')}`)
          const outcome = await driven(adapter, await stored(adapter, its.params), life, crashes)
          const now = created() - there
          expect(now).toBeLessThanOrEqual(1)
          if (outcome.status !== 'unknown') expect(now).toBe(outcome.status === 'success' ? 1 : 0)
          else expect([...apiReasons, ...adapter.reasons]).toContain(outcome.error.reason)
          // Twice only with a fresh token, after a 401.
          expect(asked() - before).toBeLessThanOrEqual(2)
        },
      ),
      { numRuns: 100 },
    )
  })
})
