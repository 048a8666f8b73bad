/** Runs as callers read them. What is large goes by in lists: a page has a budget in bytes, whatever its runs hold. */
import type { PageEnd } from '#mesh/page-token.ts'
import type { Run, RunStatus } from './run.ts'
import type { ListedRun } from './run-view.ts'

export interface RunPage {
  workspace: string
  status: RunStatus | undefined
  limit: number
  /** The last run of the page before. */
  after: PageEnd | undefined
}

export interface RunReader {
  /** One run; its details are undefined where they are larger than `largeBytes`. */
  findSummary(runId: string): Promise<ListedRun | undefined>
  /** All of one run, however large. */
  find(runId: string): Promise<Run | undefined>
  /** Newest first. */
  list(page: RunPage): Promise<{ runs: ListedRun[]; next: RunPage['after'] }>
}

/** From here on the parameters and the result of a run are large, in bytes as they are stored. */
export const largeBytes = 64 * 1024

/** For the parameters and results of one page, in bytes as they are stored. */
const pageBudget = 256 * 1024

/** How large those of one run may be to be listed: the budget in equal parts, so that no run takes another one's. */
export const detailBytes = (limit: number): number => Math.floor(pageBudget / limit)
