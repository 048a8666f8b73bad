/** The audit log put together: what takes events, what signs its ends, and what removes what is old. */
import type { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Chain } from './chain.ts'
import { appendHeads } from './heads-file.ts'
import { Heads } from './heads.ts'
import { AuditLog, type AuditLogParts } from './log.ts'
import { retention } from './retention.ts'
import type { AuditStore, ChainCutter, ChainReader } from './store.ts'

export interface AuditPipelineParts {
  chain: Chain
  audit: AuditStore
  chains: ChainReader
  /** Undefined where nothing may be removed. */
  cutter: ChainCutter | undefined
  auditHeadsIntervalMs: number
  auditHeadsFile: string | undefined
  /** How long entries are kept, in milliseconds; for ever when undefined. */
  auditRetentionMs: number | undefined
  /** Likewise those of nobody's workspace: refused sign-ins of callers that are not known. */
  auditAnonymousRetentionMs: number
  instruments: AuditLogParts['instruments']
  log: Logger
}

export interface AuditPipeline {
  readonly auditLog: AuditLog
  /** To be stopped when nothing is added any more. Not started yet, like the next. */
  readonly heads: Heads
  readonly retaining: Loop | undefined
}

/** How often it is looked for what is old enough to go. */
const retainEveryMs = 3_600_000

export function auditTrail({ chain, audit, chains, cutter, instruments, log, ...config }: AuditPipelineParts): AuditPipeline {
  const { auditHeadsIntervalMs, auditHeadsFile: file, auditRetentionMs: ageMs, auditAnonymousRetentionMs: anonymousMs } = config
  const keep = file === undefined ? undefined : (lines: readonly string[]) => appendHeads(file, lines)
  const heads = new Heads({ chain, reader: chains, intervalMs: auditHeadsIntervalMs, keep, log })
  const periods = [{ workspace: '', ageMs: anonymousMs }, ...(ageMs === undefined ? [] : [{ ageMs }])]
  if (cutter === undefined)
    log.warn('AUDIT_RETENTION_DATABASE_URL is not set: nothing removes old audit entries, not even of unknown callers')
  return {
    auditLog: new AuditLog({ store: audit, heads, instruments }),
    heads,
    retaining: cutter && retention({ chain, cutter, periods, intervalMs: retainEveryMs, log }),
  }
}
