/**
 * Removes entries older than their retention period, from the start of a chain, in batches. Each batch is one transaction with a signed
 * checkpoint from which the rest can be verified. A batch that does not verify stays, because it is evidence.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Chain, Entry, Link, Statement } from './chain.ts'
import type { ChainCutter } from './store.ts'

export interface RetentionParts {
  chain: Chain
  cutter: ChainCutter
  /** How long entries are kept after they were recorded. */
  ageMs: number
  /** One workspace only. */
  workspace?: string | undefined
  /**
   * Nothing is removed until the oldest entry is this much older than the period: each removal leaves a checkpoint, which stays forever,
   * and one per day is enough. 0 if unset.
   */
  slackMs?: number
  /** Maximum entries per transaction; 2000 if unset. */
  max?: number
}

export interface RetentionLoopParts extends Pick<RetentionParts, 'chain' | 'cutter'> {
  periods: readonly Period[]
  intervalMs: number
  log: Logger
}

export interface RetentionState {
  readonly workspace: string
  /** The number of removed entries. */
  readonly removed: number
  /** The error that stopped the removal. */
  readonly broken: BrokenChain | undefined
}

/** A chain that does not verify; it must be investigated before any of it is removed. */
export class BrokenChain extends Error {
  override readonly name = 'BrokenChain'
  constructor(workspace: string, sequence: number) {
    super(`workspace ${JSON.stringify(workspace)} is not intact at sequence ${sequence}: entries are kept; run relay-audit verify`)
  }
}

/** Removes expired entries; a broken chain does not hold up the others. */
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

/** The last of the entries that follow a checkpoint, or the start, without a break. */
function wholeEnd(chain: Chain, workspace: string, checkpoint: Statement | undefined, entries: readonly Entry[]): Link {
  if (checkpoint !== undefined && !chain.isGenuine('checkpoint', checkpoint)) throw new BrokenChain(workspace, checkpoint.sequence)
  let last: Link = checkpoint ?? chain.origin(workspace)
  for (const entry of entries) {
    if (entry.sequence !== last.sequence + 1 || !chain.follows(last.mac, entry)) throw new BrokenChain(workspace, last.sequence + 1)
    last = entry
  }
  return last
}

/** A retention period: of one workspace, or of all. */
export type Period = Pick<RetentionParts, 'ageMs' | 'workspace'>

const dayMs = 86_400_000

/**
 * Not started yet. It may run in every replica: each waits for the other's transaction. Of two periods for one workspace the shorter
 * applies.
 */
export function retention({ periods, intervalMs, log, ...parts }: RetentionLoopParts): Loop {
  const work = async (): Promise<boolean> => {
    for (const period of periods) {
      for (const { workspace, removed, broken } of await retain({ ...parts, ...period, slackMs: Math.min(dayMs, period.ageMs / 10) })) {
        if (removed > 0) log.info({ workspace_id: workspace, removed }, 'audit entries were removed behind a checkpoint')
        if (broken !== undefined)
          log.error({ err: broken, workspace_id: workspace }, 'audit entries are kept beyond their retention period')
      }
    }
    return false
  }
  return new Loop({ name: 'audit retention', intervalMs, log, work })
}
