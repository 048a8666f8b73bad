import { expect, test } from 'vitest'
import { githubIssueAction } from '#providers/github/create-issue.ts'
import { sandbox } from '#providers/github/sandbox.ts'
import { startSandboxApi } from '../../fakes/sandbox-api.ts'
import { closing } from '../../services/actions/adapter-harness.ts'
import { Life, account, asking, driven } from '../../services/actions/provider-harness.ts'

const path = /^\/api\/repos\/[^/]+\/[^/]+\/issues$/
async function openHarness(scopes = ['repo']) {
  const api = closing(await startSandboxApi(sandbox, { scopes, create: path, find: path }))
  return {
    api,
    adapter: githubIssueAction({ connections: account(), baseUrl: new URL(`${api.url}/api`), retryMs: 1, pollIntervalMs: [0] }),
  }
}
const issue = { owner: 'example', repo: 'playground', title: 'Broken', body: 'Since today, @ann and @acme/core.', labels: ['bug'] }

test('what is sent is byte for byte what was shown, with its mark; whom it notifies is said', async () => {
  const { api, adapter } = await openHarness()
  const shown = await adapter.preview(adapter.params.parse(issue), asking())
  const { marker } = shown.params as { marker: string }
  const text = `${issue.body}\n\n<!-- relay ${marker} -->`
  expect(shown.summary).toBe(`Create an issue in example/playground as ada@example.com: Broken\n\n${text}`)
  expect(shown.warnings).toEqual(['GitHub notifies @ann, @acme/core.'])
  expect(await driven(adapter, adapter.params.parse(shown.params), new Life())).toMatchObject({
    status: 'success',
    result: { number: 1, link: expect.stringContaining('/example/playground/issues/1') as string },
  })
  expect(api.calls[0]).toMatchObject({ body: { title: 'Broken', body: text, labels: ['bug'] }, headers: { 'user-agent': 'Relay' } })
})

test('two previews of the same issue have marks of their own, and a caller cannot choose one', async () => {
  const { adapter } = await openHarness()
  const marks = await Promise.all([1, 2].map(async () => (await adapter.preview(adapter.params.parse(issue), asking())).params.marker))
  expect(new Set(marks).size).toBe(2)
  await expect(adapter.preview(adapter.params.parse({ ...issue, marker: marks[0] }), asking())).rejects.toMatchObject({
    reason: 'INVALID_PARAMS',
  })
})

test.each([
  [{ owner: '../x' }, 'owner'],
  [{ repo: '..' }, 'repo'],
  [{ title: 'two\nlines' }, 'title'],
  [{ body: 'bell\u0007' }, 'body'],
])('%j is refused by its %s', async (wrong, field) => {
  const { adapter } = await openHarness()
  expect(adapter.params.safeParse({ ...issue, ...wrong }).error?.issues.map(({ path }) => path[0])).toEqual([field])
})

test('a repository that may not be seen is a refusal: nothing was created', async () => {
  const { adapter } = await openHarness(['gist'])
  const shown = await adapter.preview(adapter.params.parse(issue), asking())
  expect(await driven(adapter, adapter.params.parse(shown.params), new Life())).toMatchObject({
    status: 'failed',
    error: { reason: 'PROVIDER_NOT_FOUND' },
  })
})
