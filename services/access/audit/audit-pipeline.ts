/** Assembles the audit log: appending events, signing the heads of chains, and removing old entries. */
import type { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Chain } from './chain.ts'
import { appendHeads } from './heads-file.ts'
import { ChainHeads } from './heads.ts'
import { AuditLog, type AuditLogParts } from './log.ts'
import { retention } from './retention.ts'
import type { AuditStore, ChainCutter, ChainReader } from './store.ts'

export interface AuditPipelineParts {
  chain: Chain
  audit: AuditStore
  chains: ChainReader
  /** Undefined if nothing may be removed. */
  cutter: ChainCutter | undefined
  auditHeadsIntervalMs: number
  auditHeadsFile: string | undefined
  /** How long entries are kept, in milliseconds; forever if undefined. */
  auditRetentionMs: number | undefined
  /** The same for entries without a workspace: rejected sign-ins of unknown callers. */
  auditAnonymousRetentionMs: number
  instruments: AuditLogParts['instruments']
  log: Logger
}

export interface AuditPipeline {
  readonly auditLog: AuditLog
  /** Stop it once nothing is added any more. Neither it nor the next is started yet. */
  readonly heads: ChainHeads
  readonly retaining: Loop | undefined
}

/** How often retention looks for expired entries. */
const retainEveryMs = 3_600_000

export function auditPipeline({ chain, audit, chains, cutter, instruments, log, ...config }: AuditPipelineParts): AuditPipeline {
  const { auditHeadsIntervalMs, auditHeadsFile: file, auditRetentionMs: ageMs, auditAnonymousRetentionMs: anonymousMs } = config
  const keep = file === undefined ? undefined : (lines: readonly string[]) => appendHeads(file, lines)
  const heads = new ChainHeads({ chain, reader: chains, intervalMs: auditHeadsIntervalMs, keep, log })
  const periods = [{ workspace: '', ageMs: anonymousMs }, ...(ageMs === undefined ? [] : [{ ageMs }])]
  if (cutter === undefined)
    log.warn('AUDIT_RETENTION_DATABASE_URL is not set: old audit entries are never removed, not even those of unknown callers')
  return {
    auditLog: new AuditLog({ store: audit, heads, instruments }),
    heads,
    retaining: cutter && retention({ chain, cutter, periods, intervalMs: retainEveryMs, log }),
  }
}
