/** A webhook adapter, receivers for it, and runs to execute: what the tests of webhook.save have in common. */
import { SignatureKeys } from '#mesh/signature-keys.ts'
import type { Outcome, RunHandle } from '../../../services/actions/adapter.ts'
import { webhookAdapter, webhookReasons } from '../../../services/actions/adapters/webhook.ts'
import type { WebhookOptions, WebhookReason } from '../../../services/actions/adapters/webhook.ts'
import { parsePolicy, publicOnly } from '../../../services/actions/egress/egress-policy.ts'
import { startReceiver } from '../../fakes/receiver.ts'
import type { Receiver, ReceiverOptions } from '../../fakes/receiver.ts'
import { closing, expectError as expectErrorOf, run, stored } from './adapter-harness.ts'

export const signingSecret = 'a secret that is only in this test'
const keys = new SignatureKeys({ root: undefined, legacy: signingSecret })
/** As where there is no root: the key from before alone. */
const signingKeys = async (workspace: string) => ({ newest: keys.key('outbound', workspace, 0)!, previous: undefined })
export const loopback = parsePolicy(['127.0.0.0/8', '::1/128'])

/** May reach loopback. */
export const adapter = (options: Partial<WebhookOptions> = {}) => webhookAdapter({ signingKeys, policy: loopback, ...options })

/** May reach only public addresses, to which every name resolves. */
export const publicAdapter = (options: Partial<WebhookOptions> = {}) =>
  adapter({ policy: publicOnly, lookup: async () => ['93.184.216.34'], ...options })

export const receive = async (options?: ReceiverOptions): Promise<Receiver> => closing(await startReceiver(options))

/** Previews and executes. */
export async function send(json: unknown, options: Partial<WebhookOptions> = {}, part: Partial<RunHandle> = {}): Promise<Outcome> {
  const webhook = adapter(options)
  return webhook.execute(await stored(webhook, json), run(part))
}

export const expectError = (outcome: Outcome, status: 'failed' | 'unknown', reason: WebhookReason): string =>
  expectErrorOf(outcome, status, reason, webhookReasons)
