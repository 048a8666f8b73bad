/** A stand-in for the actions service: a real gRPC server of the mesh, whose handlers a test decides. It keeps what it was asked. */
import { ActionsServiceService, type ExecuteActionResponse, type Run } from '#gen/relay/actions/v1/actions.ts'
import type { Call } from '#mesh/grpc/call.ts'
import type { Verifier } from '#mesh/grpc/caller.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer, type Handlers, served } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'

type Definition = typeof ActionsServiceService
export type ActionsHandlers = { -readonly [Name in keyof Definition]: Handlers<Definition>[Name] }

export interface ReceivedCall {
  method: string
  request: unknown
  call: Call
}

export interface ActionsStandIn {
  address: string
  asked: ReceivedCall[]
  /** Replaced by tests that want another answer. */
  handlers: ActionsHandlers
  health: { ok: boolean }
  stop(): Promise<void>
}

export const run: Run = {
  runId: '3a033cc1-0000-4000-8000-000000000001',
  previewId: '8ab7e7a4-0000-4000-8000-000000000001',
  action: 'webhook.save',
  provider: 'independent',
  status: 'success',
  params: { url: 'https://example.com/hook' },
  result: { status_code: 200, response: 'OK' },
  error: undefined,
  durationMs: 549,
  actor: 'tester',
  startedAt: '2025-10-06T06:15:00.000Z',
  endedAt: '2025-10-06T06:15:00.549Z',
  withheld: '',
  settlement: undefined,
}

export const executed = (requestId: string, more: Partial<ExecuteActionResponse> = {}): ExecuteActionResponse => ({
  runId: run.runId,
  action: run.action,
  provider: run.provider,
  status: 'success',
  result: run.result,
  error: undefined,
  durationMs: 549,
  requestId,
  ...more,
})

const usual: ActionsHandlers = {
  listActions: async (_request, call) => ({
    actions: [
      {
        action: 'webhook.save',
        provider: 'independent',
        description: 'Sends a signed request.',
        guarantee: 'At most once.',
        paramsSchema: { type: 'object', properties: { url: { type: 'string' } } },
        available: true,
        unavailableReason: undefined,
      },
      {
        action: 'mail.send',
        provider: 'google',
        description: 'Sends a mail.',
        guarantee: 'At most once.',
        paramsSchema: {},
        available: false,
        unavailableReason: 'Set GOOGLE_CLIENT_ID.',
      },
    ],
    requestId: call.requestId,
  }),
  previewAction: async (request, call) => ({
    previewId: run.previewId,
    action: request.action,
    provider: 'independent',
    summary: 'Send POST request to https://example.com/hook\nRequest will be signed with X-Signature header.',
    params: request.params,
    warnings: [],
    expiresAt: '2025-10-06T07:15:00.000Z',
    requestId: call.requestId,
  }),
  executeAction: async (_request, call) => executed(call.requestId),
  listRuns: async (_request, call) => ({ runs: [run], nextPageToken: '', requestId: call.requestId }),
  getRun: async (request, call) => ({ run: { ...run, runId: request.runId }, requestId: call.requestId }),
  settleRun: async ({ runId, verdict, reason }, call) => ({
    run: { ...run, runId, settlement: { verdict, reason, settledBy: 'tester', settledAt: '2025-10-06T07:15:00.000Z' } },
    requestId: call.requestId,
  }),
}

export async function startActions(verifier: Verifier): Promise<ActionsStandIn> {
  const health = { ok: true }
  const standIn: ActionsStandIn = { address: '', asked: [], handlers: { ...usual }, health, stop: () => Promise.resolve() }
  const recorded = Object.fromEntries(
    Object.keys(usual).map((method) => [
      method,
      async (request: unknown, call: Call) => {
        standIn.asked.push({ method, request, call })
        return (standIn.handlers[method as keyof ActionsHandlers] as (request: unknown, call: Call) => Promise<unknown>)(request, call)
      },
    ]),
  ) as unknown as ActionsHandlers
  const server = new GrpcServer({
    services: [served(ActionsServiceService, recorded)],
    verifier,
    health: new Health({
      services: [],
      checks: {
        itself: async () => {
          if (!health.ok) throw new Error('told to be unwell')
        },
      },
    }),
    log: createLogger('actions', 'silent'),
    metrics: new Metrics('actions'),
  })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  standIn.address = `127.0.0.1:${port}`
  standIn.stop = async () => void (await server.drain(0))
  return standIn
}
