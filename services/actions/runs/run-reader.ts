/** Runs as callers read them. Lists contain no large values: a page has a budget in bytes, whatever its runs contain. */
import type { PageEnd } from '#mesh/page-token.ts'
import type { Run, RunStatus } from './run.ts'
import type { ListedRun } from './run-view.ts'

export interface RunPage {
  workspace: string
  status: RunStatus | undefined
  limit: number
  /** The last run of the previous page. */
  after: PageEnd | undefined
}

export interface RunReader {
  /** One run; its details are undefined if they are larger than `largeBytes`. */
  findSummary(runId: string): Promise<ListedRun | undefined>
  /** All of one run, however large. */
  find(runId: string): Promise<Run | undefined>
  /** Newest first. */
  list(page: RunPage): Promise<{ runs: ListedRun[]; next: RunPage['after'] }>
}

/** From this size on the parameters and the result of a run are large, in bytes as stored. */
export const largeBytes = 64 * 1024

/** For the parameters and results of one page, in bytes as stored. */
const pageBudget = 256 * 1024

/** Maximum size of those of one run in a list: an equal part of the budget, so that no run takes another's. */
export const detailBytes = (limit: number): number => Math.floor(pageBudget / limit)
