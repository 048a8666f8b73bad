/** What the tests of all adapters have in common: servers that end with the test, what is asked of an adapter, and what came of it. */
import { afterEach, expect } from 'vitest'
import { ownContext } from '#mesh/grpc/call.ts'
import type { Adapter, Outcome, PreviewContext, RunHandle } from '../../../services/actions/adapter.ts'

export const runId = '3a033cc1-0000-4000-8000-000000000001'

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

/** A preview that no account is needed for, unless `part` has one. */
export const previewing = (part: Partial<PreviewContext> = {}): PreviewContext => ({
  workspace: 'default',
  actor: 'tester',
  signal: new AbortController().signal,
  ...part,
})

/** The first attempt at a run, which stays held and records nothing, unless `part` says otherwise. */
export const run = (part: Partial<RunHandle> = {}): RunHandle => ({
  runId,
  workspace: 'default',
  actor: 'tester',
  connectionId: undefined,
  context: ownContext(),
  signal: new AbortController().signal,
  recovery: undefined,
  recordedAgoMs: undefined,
  attempt: 1,
  record: async () => undefined,
  assertHeld: async () => undefined,
  ...part,
})

/** What a client's JSON comes to: the parsed parameters, previewed, as they are stored. */
export async function stored<P>(adapter: Adapter<P>, json: unknown, context: PreviewContext = previewing()): Promise<P> {
  const shown = await adapter.preview(adapter.params.parse(json), context)
  return adapter.params.parse(JSON.parse(JSON.stringify(shown.params)))
}

/** Holds an outcome to its status and its reason, and the reason to the adapter's closed list; returns the message. */
export function expectError(outcome: Outcome, status: 'failed' | 'unknown', reason: string, reasons: readonly string[]): string {
  expect(outcome).toMatchObject({ status, error: { reason } })
  expect(reasons).toContain(reason)
  return outcome.status === 'success' ? '' : outcome.error.message
}
