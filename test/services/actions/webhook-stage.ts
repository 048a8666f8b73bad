/** A webhook adapter, receivers for it, and runs to execute: what the tests of webhook.save have in common. */
import { afterEach, expect } from 'vitest'
import { ownContext } from '#mesh/grpc/call.ts'
import type { Outcome, RunHandle } from '../../../services/actions/adapter.ts'
import { webhookAdapter, webhookReasons } from '../../../services/actions/adapters/webhook.ts'
import type { WebhookOptions, WebhookReason } from '../../../services/actions/adapters/webhook.ts'
import { parsePolicy, publicOnly } from '../../../services/actions/address-guard.ts'
import { startReceiver } from '../../fakes/receiver.ts'
import type { Receiver, ReceiverOptions } from '../../fakes/receiver.ts'

export const signingSecret = 'a secret that is only in this test'
export const loopback = parsePolicy(['127.0.0.0/8', '::1/128'])
export const runId = '3a033cc1-0000-4000-8000-000000000001'
export const context = { workspace: 'default', actor: 'tester', signal: new AbortController().signal }

/** May reach loopback. */
export const adapter = (options: Partial<WebhookOptions> = {}) => webhookAdapter({ signingSecret, policy: loopback, ...options })

/** May reach only public addresses, to which every name resolves. */
export const publicAdapter = (options: Partial<WebhookOptions> = {}) =>
  adapter({ policy: publicOnly, lookup: async () => ['93.184.216.34'], ...options })

const open = new Set<{ close(): unknown }>()
afterEach(async () => {
  for (const each of open) await each.close()
  open.clear()
})

/** Closes it after the test. */
export function closing<T extends { close(): unknown }>(server: T): T {
  open.add(server)
  return server
}

export const receive = async (options?: ReceiverOptions): Promise<Receiver> => closing(await startReceiver(options))

export function run(part: Partial<RunHandle> = {}): RunHandle {
  return {
    runId,
    workspace: 'default',
    actor: 'tester',
    connectionId: undefined,
    context: ownContext(),
    signal: new AbortController().signal,
    recovery: undefined,
    attempt: 1,
    record: async () => undefined,
    assertHeld: () => undefined,
    ...part,
  }
}

/** What a client's JSON comes to: the parsed parameters, previewed, as they are stored. */
export async function shownParams(webhook: ReturnType<typeof adapter>, json: unknown) {
  const shown = await webhook.preview(webhook.params.parse(json), context)
  return webhook.params.parse(JSON.parse(JSON.stringify(shown.params)))
}

/** Previews and executes. */
export async function send(json: unknown, options: Partial<WebhookOptions> = {}, part: Partial<RunHandle> = {}): Promise<Outcome> {
  const webhook = adapter(options)
  return webhook.execute(await shownParams(webhook, json), run(part))
}

/** Holds an outcome to its status and reason, and returns its message. */
export function expectError(outcome: Outcome, status: 'failed' | 'unknown', reason: WebhookReason): string {
  expect(outcome).toMatchObject({ status, error: { reason } })
  expect(webhookReasons).toContain(reason)
  return outcome.status === 'success' ? '' : outcome.error.message
}
