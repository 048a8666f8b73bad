/** The actions of this process, by name. */
import { z } from 'zod'
import type { Adapter } from './adapter.ts'
import { errors } from './errors.ts'
import type { Providers } from './providers.ts'

export interface CatalogEntry {
  action: string
  provider: string
  description: string
  guarantee: string
  paramsSchema: Record<string, unknown>
  /** Every reason of its outcomes; it labels metrics. */
  reasons: readonly string[]
  unavailable: string | undefined
}

export class Catalog {
  readonly #adapters: ReadonlyMap<string, Adapter>
  readonly #schemas: ReadonlyMap<string, Record<string, unknown>>
  readonly #providers: Providers

  // oxlint-disable-next-line typescript/no-explicit-any -- adapters of any parameters: each gets only what its own schema accepted
  constructor(adapters: readonly Adapter<any>[], providers: Providers = { unavailable: () => undefined }) {
    this.#providers = providers
    this.#adapters = new Map(adapters.map((adapter) => [adapter.action, adapter]))
    // Schemas never change while the process runs.
    this.#schemas = new Map(
      adapters.map((adapter) => [adapter.action, z.toJSONSchema(adapter.params, { io: 'input' }) as Record<string, unknown>]),
    )
  }

  list(): CatalogEntry[] {
    return [...this.#adapters.values()].map((adapter) => ({
      action: adapter.action,
      provider: adapter.provider,
      description: adapter.description,
      guarantee: adapter.guarantee,
      paramsSchema: this.#schemas.get(adapter.action)!,
      reasons: adapter.reasons,
      unavailable: this.#unavailable(adapter),
    }))
  }

  /** Changes when an action becomes available or unavailable. */
  availability(): string {
    return [...this.#adapters.values()].map((adapter) => this.#unavailable(adapter) ?? '').join('\n')
  }

  #unavailable(adapter: Adapter): string | undefined {
    return adapter.unavailable?.() ?? (adapter.requires && this.#providers.unavailable(adapter.requires.provider))
  }

  /** In any state; undefined for an action that this code does not know (any longer). */
  find(action: string): Adapter | undefined {
    return this.#adapters.get(action)
  }

  /**
   * An available action; the look-up of the account tells whether its provider is configured. Throws UNKNOWN_ACTION or ACTION_UNAVAILABLE.
   */
  require(action: string): Adapter {
    const adapter = this.find(action)
    if (adapter === undefined)
      throw errors.UNKNOWN_ACTION({ violations: [{ field: 'action', description: 'is not the name of an action' }] })
    const unavailable = adapter.unavailable?.()
    if (unavailable !== undefined) throw errors.ACTION_UNAVAILABLE({ message: unavailable })
    return adapter
  }
}

/** Parameters by the action's schema. Throws INVALID_PARAMS with every invalid field. */
export function parseParams(adapter: Adapter, params: unknown): unknown {
  const parsed = adapter.params.safeParse(params)
  if (parsed.success) return parsed.data
  const violations = parsed.error.issues.flatMap((issue) => {
    const at = ['params', ...issue.path.map(String)].join('.')
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((name) => ({ field: `${at}.${name}`, description: 'is not a parameter of this action' }))
    return [{ field: at, description: issue.message }]
  })
  throw errors.INVALID_PARAMS({ violations })
}
