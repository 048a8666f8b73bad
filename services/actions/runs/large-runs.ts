/**
 * Limits reads of large runs. Reading one, encoding and sending it blocks this process for tens of milliseconds, and the next process as
 * long again. So each workspace reads one at a time, until it has been sent, and a few wait for it; more are rejected at once. Small reads,
 * and other workspaces, wait in no queue.
 */
import { meshErrors } from '#mesh/errors.ts'
import { FairSlots, NoSlot, type SlotLimits } from '#mesh/fair-slots.ts'
import type { Call } from '#mesh/grpc/call.ts'
import type { Run } from './run.ts'
import type { RunReader } from './run-reader.ts'

export const largeRunLimits: SlotLimits = { max: 4, maxPerTenant: 1, maxQueued: 64, maxQueuedPerTenant: 8, timeoutMs: 1000 }

/** The approximate time until there is space again. */
const retryAfterMs = 1000
const message = 'Too many large runs are being read for this workspace; nothing was read. Try again soon, and read fewer at once.'

export class LargeRuns {
  readonly #find: RunReader['find']
  readonly #slots: FairSlots

  constructor({ find }: Pick<RunReader, 'find'>, limits = largeRunLimits) {
    this.#find = find
    this.#slots = new FairSlots(limits)
  }

  /** All of one run, in its workspace's turn, which ends with the call. Throws OVERLOADED if the turn does not come. */
  async read({ runId, workspace }: Pick<Run, 'runId' | 'workspace'>, call: Pick<Call, 'signal' | 'onEnd'>): Promise<Run | undefined> {
    try {
      call.onEnd(await this.#slots.acquire(workspace, call.signal))
    } catch (error) {
      if (!(error instanceof NoSlot)) throw error
      throw error.why === 'stopped' ? meshErrors.CANCELLED() : meshErrors.OVERLOADED({ message, retryAfterMs })
    }
    return this.#find(runId)
  }
}
