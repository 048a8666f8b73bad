/** The RPCs of relay.access.v1.AuditService: proto ⇄ domain, nothing more. */
import { type AuditEntry, AuditServiceService } from '#gen/relay/access/v1/audit.ts'
import type { AuditEvent, AuditOutcome } from '#mesh/audit/event.ts'
import { meshErrors } from '#mesh/errors.ts'
import { callerOf } from '#mesh/grpc/call.ts'
import { type BoundServer, served } from '#mesh/grpc/server.ts'
import { notAPageToken } from '#mesh/page-token.ts'
import { parseTime } from '#mesh/rfc3339.ts'
import { key } from '#mesh/telemetry/names.ts'
import { boundOf } from './bound.ts'
import type { Entry } from './chain.ts'
import { exportPage } from './export.ts'
import type { AuditLog } from './log.ts'
import type { AuditStore } from './store.ts'

export interface AuditServiceParts {
  log: Pick<AuditLog, 'append'>
  store: Pick<AuditStore, 'list'>
}

const defaultPage = { list: 50, export: 1000 }

export function auditService({ log, store }: AuditServiceParts): BoundServer {
  return served(AuditServiceService, {
    async appendEvents({ events }, call) {
      // The peer states the workspace and the act; which service acted is known from its identity.
      if (call.peer === undefined || events.some(({ service }) => service !== call.peer)) {
        throw meshErrors.PERMISSION_DENIED({
          message: 'A service may report only its own acts. Set service to the name of the calling service.',
        })
      }
      await log.append(events.map((event) => ({ ...event, outcome: event.outcome as AuditOutcome }) satisfies AuditEvent))
      return {}
    },

    async listEvents(request, call) {
      const { action, outcome, actor, keyId, target } = request
      const { entries, next } = await store.list({
        workspace: callerOf(call).workspace,
        filter: {
          ...given({ action, actor, keyId, target }),
          outcome: outcome === '' ? undefined : (outcome as AuditOutcome),
          ...periodOf(request),
        },
        order: 'newest first',
        limit: request.pageSize || defaultPage.list,
        after: readPageToken(request.pageToken),
      })
      return { events: entries.map(toMessage), nextPageToken: writePageToken(next), requestId: call.requestId }
    },

    async exportEvents(request, call) {
      const { data, next } = await exportPage(store, {
        workspace: callerOf(call).workspace,
        filter: periodOf(request),
        limit: request.pageSize || defaultPage.export,
        after: readPageToken(request.pageToken),
      })
      if (next !== undefined) call.reply(key.nextPage, writePageToken(next))
      return { contentType: 'application/x-ndjson', data, extensions: [] }
    },
  })
}

function toMessage({ mac, targets, ...entry }: Entry): AuditEntry {
  return { ...entry, targets: [...targets], mac: mac.toString('hex') }
}

const invalid = (field: string, description: string) => meshErrors.INVALID_REQUEST({ violations: [{ field, description }] })

/** Not every text store can hold U+0000 or search for it. */
function given<Field extends string>(texts: Record<Field, string>): Partial<Record<Field, string>> {
  const filter: Partial<Record<Field, string>> = {}
  for (const [field, text] of Object.entries(texts) as [Field, string][]) {
    if (text.includes('\0')) throw invalid(field === 'keyId' ? 'key_id' : field, 'must not contain U+0000')
    if (text !== '') filter[field] = text
  }
  return filter
}

const periodOf = ({ from, until }: { from: string; until: string }) => ({ from: timeOf('from', from), until: timeOf('until', until) })

function timeOf(field: string, text: string): string | undefined {
  if (text === '') return undefined
  const time = parseTime(text)
  if (time === undefined) throw invalid(field, 'must be a valid time, such as 2026-01-31T12:00:00Z')
  return boundOf(time)
}

const writePageToken = (after: number | undefined): string =>
  after === undefined ? '' : Buffer.from(`after ${after}`).toString('base64url')

function readPageToken(token: string): number | undefined {
  if (token === '') return undefined
  const match = /^after ([1-9]\d{0,9})$/.exec(Buffer.from(token, 'base64url').toString())
  if (match === null) throw notAPageToken()
  return Number(match[1])
}
