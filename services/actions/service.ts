/** The RPCs of relay.actions.v1: proto ⇄ domain, nothing more. */
import { ActionsServiceService, ListActionsResponse, type Run as RunMessage } from '#gen/relay/actions/v1/actions.ts'
import { principalOf, callerOf } from '#mesh/grpc/call.ts'
import { type BoundServer, served } from '#mesh/grpc/server.ts'
import { readPageToken, writePageToken } from '#mesh/page-token.ts'
import { key } from '#mesh/telemetry/names.ts'
import { annotate } from '#mesh/telemetry/scope.ts'
import type { Catalog } from './catalog.ts'
import { errors } from './errors.ts'
import type { Execution } from './runs/execute.ts'
import type { ActionMetrics } from './metrics.ts'
import type { Previews } from './preview.ts'
import { LargeRuns } from './runs/large-runs.ts'
import type { RunReader } from './runs/run-reader.ts'
import { type ListedRun, type RunDetails, type Viewer, seesDetails, showDetails, showSettlement } from './runs/run-view.ts'
import { type RunStatus, durationMs } from './runs/run.ts'
import { type SettlementStore, Settlements, type Verdict } from './runs/settlement.ts'

export interface ServiceParts {
  enabled: boolean
  catalog: Catalog
  previews: Previews
  execution: Execution
  runs: RunReader
  settlements: SettlementStore
  metrics: ActionMetrics
}

const defaultPage = 50

export function actionsService({ enabled, catalog, previews, execution, runs, settlements, metrics }: ServiceParts): BoundServer {
  const settling = new Settlements({ store: settlements, metrics })
  const large = new LargeRuns(runs)
  const requireEnabled = () => {
    if (!enabled) throw errors.ACTIONS_DISABLED()
  }
  // The list changes only with the availability of actions, and is long beside the rest: it is encoded once, and each response is that plus
  // its own request id, because concatenated protobuf messages are one message
  // (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
  // id, since protobuf messages one after the other are one message (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
  let encoded: { availability: string; bytes: Uint8Array } | undefined
  const encodedList = (): Uint8Array => {
    const availability = catalog.availability()
    if (encoded?.availability !== availability) {
      const actions = catalog.list().map(({ action, provider, description, guarantee, paramsSchema, unavailable }) => {
        return {
          action,
          provider,
          description,
          guarantee,
          paramsSchema,
          available: unavailable === undefined,
          unavailableReason: unavailable,
        }
      })
      encoded = { availability, bytes: ListActionsResponse.encode({ actions, requestId: '' }).finish() }
    }
    return encoded.bytes
  }
  return served(ActionsServiceService, {
    async listActions(_request, call) {
      requireEnabled()
      return Buffer.concat([encodedList(), ListActionsResponse.encode({ actions: [], requestId: call.requestId }).finish()])
    },

    async previewAction(request, call) {
      requireEnabled()
      const { action, params = {} } = request
      const previewed = await previews.preview({ action, params, principal: principalOf(call), context: call })
      metrics.previewed(previewed.provider, previewed.action)
      return { ...previewed, expiresAt: previewed.expiresAt.toISOString(), requestId: call.requestId }
    },

    async executeAction(request, call) {
      requireEnabled()
      const { previewId, idempotencyKey } = request
      const { run, replayed } = await execution.execute({ previewId, idempotencyKey, principal: principalOf(call), context: call })
      if (replayed) {
        call.reply(key.replayed, 'true')
        annotate({ replayed })
        metrics.replayed(run)
      }
      const { runId, action, provider, status } = run
      call.reply(key.run, runId)
      // A key that another actor of the workspace used returns that actor's run.
      const { result, error } = showDetails(run, run, callerOf(call))
      return { runId, action, provider, status, result, error, durationMs: durationMs(run) ?? 0, requestId: call.requestId }
    },

    async listRuns(request, call) {
      requireEnabled()
      const caller = callerOf(call)
      const { runs: listed, next } = await runs.list({
        workspace: caller.workspace,
        status: request.status === '' ? undefined : (request.status as RunStatus),
        limit: request.pageSize === 0 ? defaultPage : request.pageSize,
        after: readPageToken(request.pageToken),
      })
      const messages = listed.map((run) => toMessage(run, run.details, caller))
      return { runs: messages, nextPageToken: writePageToken(next), requestId: call.requestId }
    },

    async getRun(request, call) {
      requireEnabled()
      const run = await runs.findSummary(request.runId)
      const caller = callerOf(call)
      // Another workspace's run does not exist for this caller.
      if (run === undefined || run.workspace !== caller.workspace) throw errors.RUN_NOT_FOUND()
      annotate({ runId: run.runId })
      call.reply(key.run, run.runId)
      if (run.details !== undefined || !seesDetails(run, caller)) {
        return { run: toMessage(run, run.details, caller), requestId: call.requestId }
      }
      const whole = await large.read(run, call)
      if (whole === undefined) throw errors.RUN_NOT_FOUND()
      return { run: toMessage(whole, whole, caller), requestId: call.requestId }
    },

    async settleRun({ runId, verdict, reason }, call) {
      requireEnabled()
      annotate({ runId })
      const run = await settling.settle({ runId, verdict: verdict as Verdict, reason, principal: principalOf(call) })
      call.reply(key.run, runId)
      return { run: toMessage(run, run, callerOf(call)), requestId: call.requestId }
    },
  })
}

function toMessage(run: Omit<ListedRun, 'details'>, details: RunDetails | undefined, viewer: Viewer): RunMessage {
  const shown = showDetails(run, details, viewer)
  const settlement = showSettlement(run, shown.withheld)
  return {
    runId: run.runId,
    previewId: run.previewId,
    action: run.action,
    provider: run.provider,
    status: run.status,
    durationMs: durationMs(run),
    actor: run.actor,
    startedAt: run.startedAt.toISOString(),
    endedAt: run.endedAt?.toISOString(),
    ...shown,
    settlement: settlement && { ...settlement, settledAt: settlement.settledAt.toISOString() },
  }
}
