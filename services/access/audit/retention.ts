/**
 * Removes entries that are older than they are to be kept: from the beginning of a chain, in pieces, each in one transaction with a signed
 * checkpoint from which the rest can be verified. A piece that is not whole stays where it is, since it is the evidence.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Chain, Entry, Link, Statement } from './chain.ts'
import type { ChainCutter } from './store.ts'

export interface RetentionParts {
  chain: Chain
  cutter: ChainCutter
  /** How long entries are kept, from when they were recorded. */
  ageMs: number
  /** One workspace alone. */
  workspace?: string | undefined
  /**
   * Nothing is cut before the oldest entry is so much older: each cut leaves a checkpoint, which is never removed, and one a day is enough.
   * 0 when unset.
   */
  slackMs?: number
  /** Entries in one transaction at the most; 2000 when unset. */
  max?: number
}

export interface RetentionLoopParts extends Pick<RetentionParts, 'chain' | 'cutter'> {
  periods: readonly Period[]
  intervalMs: number
  log: Logger
}

export interface RetentionState {
  readonly workspace: string
  /** Entries that were removed. */
  readonly removed: number
  /** What kept the rest from being removed. */
  readonly broken: BrokenChain | undefined
}

/** A chain that is to be verified before any of it goes. */
export class BrokenChain extends Error {
  override readonly name = 'BrokenChain'
  constructor(workspace: string, sequence: number) {
    super(`workspace ${JSON.stringify(workspace)} is not whole at sequence ${sequence}: it is not cut there; run relay-audit verify`)
  }
}

/** Cuts what is due; a chain that is broken does not hold up the others. */
export async function retain({
  chain,
  cutter,
  ageMs,
  workspace: only,
  slackMs = 0,
  max = 2000,
}: RetentionParts): Promise<RetentionState[]> {
  const old = await cutter.workspacesOlderThan(ageMs + slackMs)
  const due = only === undefined ? old : old.filter((workspace) => workspace === only)
  const retained: RetentionState[] = []
  for (const workspace of due) {
    const state = (checkpoint: Statement | undefined, entries: readonly Entry[], at: string): Statement =>
      chain.state('checkpoint', workspace, wholeEnd(chain, workspace, checkpoint, entries), at)
    let removed = 0
    let broken: BrokenChain | undefined
    try {
      for (let cut = max; cut === max; removed += cut) cut = await cutter.cut({ workspace, ageMs, max, state })
    } catch (error) {
      if (!(error instanceof BrokenChain)) throw error
      broken = error
    }
    retained.push({ workspace, removed, broken })
  }
  return retained
}

/** The last of entries that follow a checkpoint, or the beginning, without a break. */
function wholeEnd(chain: Chain, workspace: string, checkpoint: Statement | undefined, entries: readonly Entry[]): Link {
  if (checkpoint !== undefined && !chain.isGenuine('checkpoint', checkpoint)) throw new BrokenChain(workspace, checkpoint.sequence)
  let last: Link = checkpoint ?? chain.origin(workspace)
  for (const entry of entries) {
    if (entry.sequence !== last.sequence + 1 || !chain.follows(last.mac, entry)) throw new BrokenChain(workspace, last.sequence + 1)
    last = entry
  }
  return last
}

/** How long entries are kept: those of one workspace, or all. */
export type Period = Pick<RetentionParts, 'ageMs' | 'workspace'>

const dayMs = 86_400_000

/** Not started yet. It may run in every replica: each waits for the other's cut. Of two periods for one workspace the shorter one holds. */
export function retention({ periods, intervalMs, log, ...parts }: RetentionLoopParts): Loop {
  const work = async (): Promise<boolean> => {
    for (const period of periods) {
      for (const { workspace, removed, broken } of await retain({ ...parts, ...period, slackMs: Math.min(dayMs, period.ageMs / 10) })) {
        if (removed > 0) log.info({ workspace_id: workspace, removed }, 'audit entries were removed behind a checkpoint')
        if (broken !== undefined) log.error({ err: broken, workspace_id: workspace }, 'audit entries are kept beyond their time')
      }
    }
    return false
  }
  return new Loop({ name: 'audit retention', intervalMs, log, work })
}
