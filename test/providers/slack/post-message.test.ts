import { expect, test } from 'vitest'
import { slackMessageAction } from '#providers/slack/post-message.ts'
import { sandbox } from '#providers/slack/sandbox.ts'
import { startSandboxApi } from '../../fakes/sandbox-api.ts'
import { closing } from '../../services/actions/adapter-harness.ts'
import { Life, account, asking, driven, stored } from '../../services/actions/provider-harness.ts'

async function openHarness(scopes = ['chat:write', 'channels:history']) {
  const api = closing(
    await startSandboxApi(sandbox, { scopes, create: /^\/api\/chat\.postMessage$/, find: /^\/api\/conversations\.(?:history|replies)$/ }),
  )
  return {
    api,
    adapter: slackMessageAction({ connections: account(), baseUrl: new URL(`${api.url}/api`), retryMs: 1, pollIntervalMs: [0] }),
  }
}

test('what is posted is the text that was shown: nothing in it is markup, and nobody is notified', async () => {
  const { api, adapter } = await openHarness()
  const message = { channel: 'C0GENERAL1', text: '<!channel> see <https://evil.example|here> & @ann' }
  const { summary } = await adapter.preview(message, asking())
  expect(summary).toBe(`Post to C0GENERAL1 as ada@example.com: ${message.text}`)
  await driven(adapter, await stored(adapter, message), new Life())
  expect(api.calls[0]?.body).toMatchObject({ text: '&lt;!channel&gt; see &lt;https://evil.example|here&gt; &amp; @ann', mrkdwn: false })
})

test('a reply is found in its thread', async () => {
  const { api, adapter } = await openHarness()
  const first = await driven(adapter, await stored(adapter, { channel: 'C0RANDOM01', text: 'First' }), new Life())
  const thread_ts = String(first.result?.ts)
  api.inject('create', 'answer lost')
  const reply = await stored(adapter, { channel: 'C0RANDOM01', text: 'Second', thread_ts })
  expect(await driven(adapter, reply, new Life('00000000-0000-4000-8000-0000000000aa'))).toMatchObject({ status: 'success' })
  expect(api.calls.at(-1)?.path).toBe('/api/conversations.replies')
})

test.each([
  [{ channel: '#general', text: 'Hi' }, 'channel'],
  [{ channel: 'C0GENERAL1', text: '  ' }, 'text'],
  [{ channel: 'C0GENERAL1', text: 'a\u202eb' }, 'text'],
  [{ channel: 'C0GENERAL1', text: 'x'.repeat(4001) }, 'text'],
  [{ channel: 'C0GENERAL1', text: 'Hi', thread_ts: 'then' }, 'thread_ts'],
])('%j is refused by its %s', async (params, field) => {
  const { adapter } = await openHarness()
  expect(adapter.params.safeParse(params).error?.issues.map(({ path }) => path[0])).toEqual([field])
})

test('a channel that is not there, and a scope that was not granted, are refusals: nothing was posted', async () => {
  const { adapter } = await openHarness()
  const nowhere = await stored(adapter, { channel: 'C0NOWHERE1', text: 'Hi' })
  expect(await driven(adapter, nowhere, new Life())).toMatchObject({
    status: 'failed',
    error: { reason: 'PROVIDER_NOT_FOUND', message: expect.stringContaining('channel_not_found') as string },
  })
  const { adapter: narrow } = await openHarness(['channels:history'])
  expect(await driven(narrow, await stored(narrow, { channel: 'C0GENERAL1', text: 'Hi' }), new Life())).toMatchObject({
    status: 'failed',
    error: { reason: 'PROVIDER_FORBIDDEN' },
  })
})
