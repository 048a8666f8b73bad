/** A process that stands still for longer than its lease (SIGSTOP, a sleeping machine) and wakes again: nothing is sent twice, and what is said is true. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ActionsServiceService } from '#gen/relay/actions/v1/actions.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Journey, journey, until } from './journey.ts'
import { exchange } from './ports.ts'

let harness: Journey
let receiver: Receiver
const response = Promise.withResolvers<void>()
beforeAll(async () => {
  receiver = await startReceiver({
    respond: async () => {
      await response.promise
      return {}
    },
  })
  // One webhook of a workspace at a time: the next one waits for its turn, before the step that cannot be taken back.
  harness = await journey({
    replicas: { actions: 2 },
    env: { RUN_LEASE: '1s', EXECUTE_WAIT: '300ms', WEBHOOK_CONCURRENCY: '2', WEBHOOK_TIMEOUT: '50s' },
  })
})
afterAll(async () => {
  response.resolve()
  await harness?.end()
  await receiver?.close()
})

test('a replica that is paused for longer than its lease, with one webhook in progress and one not yet sent, sends nothing twice, and both outcomes are true', async () => {
  const { token } = await exchange(harness.mesh, harness.mesh.apiKey)
  /** By one replica, whatever the gateway would choose. */
  const execute = (at: 'actions' | 'actions-2', previewId: string, idempotencyKey: string) => {
    const channel = new Channel({ address: harness.mesh.services[at]!.grpc })
    return methodsOf(ActionsServiceService, channel)
      .executeAction({ previewId, idempotencyKey }, { ...ownContext(), callerToken: token })
      .finally(() => channel.close())
  }
  const [sent, waiting] = [`sent-${randomUUID()}`, `waiting-${randomUUID()}`]
  const previews = [await harness.api.previewId(receiver.url), await harness.api.previewId(receiver.url)] as const
  const requests = [execute('actions', previews[0], sent).catch(() => undefined)]
  await receiver.waitForDeliveries(1)
  requests.push(execute('actions', previews[1], waiting).catch(() => undefined))
  const metrics = async () => (await fetch(`http://${harness.mesh.services['actions']!.admin}/metrics`)).text()
  await until(metrics, (text) => /^outgoing_queued\{queue="webhook"[^}]*\} 1$/m.test(text))

  await harness.mesh.process('actions').kill('SIGSTOP')
  const runOf = (key: string) =>
    execute('actions-2', 'expired-or-invalid', key).catch(() => ({ runId: '', status: 'unknown', error: 'in progress' }))
  // The other one takes both over, and cannot know what the first one did.
  for (const key of [sent, waiting]) {
    expect(
      await until(
        () => runOf(key),
        ({ runId }) => runId !== '',
      ),
    ).toMatchObject({ status: 'unknown', error: expect.stringMatching(/^WEBHOOK_OUTCOME_LOST: /) })
  }
  await harness.mesh.process('actions').kill('SIGCONT')
  response.resolve()
  expect(
    await until(
      () => runOf(sent),
      ({ status }) => status !== 'unknown',
    ),
  ).toMatchObject({ status: 'success' })
  expect(
    await until(
      () => runOf(waiting),
      ({ status }) => status !== 'unknown',
    ),
  ).toMatchObject({ status: 'failed', error: expect.stringMatching(/^NOT_ACTED: /) })
  await Promise.all(requests)
  // It is as able as before: what comes now is the next delivery, and there was none in between.
  const { status, runId } = await execute('actions', await harness.api.previewId(receiver.url), randomUUID())
  expect(status).toBe('success')
  expect(receiver.deliveries.map(({ headers }) => headers['webhook-id'])).toEqual([(await runOf(sent)).runId, runId])
})
