/** Describes what would happen, and freezes it: action, canonical parameter bytes, workspace, actor. Changes nothing outside. */
import { randomUUID } from 'node:crypto'
import { type Principal, auditEvent } from '#mesh/audit/event.ts'
import type { Context } from '#mesh/grpc/call.ts'
import type { Catalog } from './catalog.ts'
import { parseParams } from './catalog.ts'
import { canonicalBytes, parseCanonical } from './canonical.ts'
import { type Connections, type AccountRequirement, connectionWarnings, requireConfigured } from './connections.ts'
import type { Store } from './store.ts'

export interface PreviewInput {
  action: string
  params: unknown
  principal: Principal
  context: Context & { readonly signal: AbortSignal }
}

export interface PreviewResult {
  previewId: string
  action: string
  provider: string
  summary: string
  params: Record<string, unknown>
  warnings: string[]
  expiresAt: Date
}

export class Previews {
  readonly #catalog: Catalog
  readonly #store: Store
  readonly #connections: Connections
  readonly #ttlMs: number

  constructor(parts: { catalog: Catalog; store: Store; connections: Connections; ttlMs: number }) {
    this.#catalog = parts.catalog
    this.#store = parts.store
    this.#connections = parts.connections
    this.#ttlMs = parts.ttlMs
  }

  async preview({ action, params, principal, context }: PreviewInput): Promise<PreviewResult> {
    const { workspace, actor } = principal
    const adapter = this.#catalog.require(action)
    // Canonical before it is parsed: the adapter sees what the stored bytes say, and nothing else that a decoder made.
    const asked = parseParams(adapter, parseCanonical(canonicalBytes(params)))
    const { connection, aboutIt } = await this.#connected(adapter.requires, principal, context)
    const shown = await adapter.preview(asked, { workspace, actor, signal: context.signal, connection })
    const bytes = canonicalBytes(shown.params)
    const previewId = randomUUID()
    const { provider } = adapter
    const { summary } = shown
    const warnings = [...aboutIt, ...shown.warnings]
    const expiresAt = await this.#store.addPreview({
      previewId,
      workspace,
      actor,
      action,
      provider,
      params: bytes,
      summary,
      warnings,
      connectionId: connection?.connectionId,
      ttlMs: this.#ttlMs,
      event: auditEvent('actions', principal, { action: 'actions.preview', outcome: 'success', targets: [`preview:${previewId}`] }),
    })
    return { previewId, action, provider, summary, params: parseCanonical(bytes), warnings, expiresAt }
  }

  /** The account that would act, and its warnings. Throws PROVIDER_NOT_CONFIGURED. */
  async #connected(requires: AccountRequirement | undefined, { workspace, actor }: Principal, context: Context) {
    if (requires === undefined) return { connection: undefined, aboutIt: [] }
    const { provider } = requires
    const found = await this.#connections.find({ workspace, actor, provider }, context)
    requireConfigured(provider, found)
    return { connection: found.connection, aboutIt: connectionWarnings(requires, found) }
  }
}
