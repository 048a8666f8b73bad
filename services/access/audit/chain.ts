/**
 * The chain of a workspace's entries. The MAC of each covers the entry and the MAC before it:
 *
 *   mac 0 = HMAC-SHA256(key, JSON [version, workspace])
 *   mac n = HMAC-SHA256(key, JSON [version, workspace, sequence, recorded_at, event_id, occurred_at, …] ‖ mac n-1)
 *
 * Without the key, any change, removal, move or insertion of an entry is detectable. Only a chain whose end was cut off still verifies;
 * signed heads, kept elsewhere, detect that. Pure: the key is a parameter, and the clock is the store's.
 */
import { type KeyObject, createHmac, createSecretKey, hkdfSync, timingSafeEqual } from 'node:crypto'
import type { AuditEvent } from '#mesh/audit/event.ts'

/** The version of the fields that the MAC covers and of their order; each row names the one that it uses. */
const version = 1

/** The state of a chain: the sequence and the MAC of its last entry. */
export interface Link {
  readonly sequence: number
  readonly mac: Buffer
}

/** An event at its place in the chain. */
export interface Entry extends AuditEvent, Link {
  readonly version: number
  /** When it was appended to the chain: RFC 3339, UTC, with milliseconds. */
  readonly recordedAt: string
}

/** States that a chain had this last entry at a time. Its sequence is the count of all entries that ever existed. */
export interface Statement extends Link {
  readonly workspace: string
  /** RFC 3339, UTC, with milliseconds. */
  readonly at: string
  /** Proves that a holder of the key made the statement. */
  readonly seal: Buffer
}

/** What a statement is for, so that one cannot be passed off as the other. */
export type Purpose = 'head' | 'checkpoint'

export class Chain {
  readonly #entries: KeyObject
  readonly #seals: Record<Purpose, KeyObject>

  /** The secret is AUDIT_HMAC_KEY; each use has its own key, by HKDF-SHA256 (RFC 5869). */
  constructor(secret: string) {
    const derive = (use: string): KeyObject => createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', `relay audit ${use}`, 32)))
    this.#entries = derive('chain')
    this.#seals = { head: derive('heads'), checkpoint: derive('checkpoints') }
  }

  /** The start of the chain, which the first entry follows. */
  origin(workspace: string): Link {
    return { sequence: 0, mac: hmac(this.#entries, JSON.stringify([version, workspace])) }
  }

  /** The entry that an event becomes after the previous one. */
  next(previous: Link, event: AuditEvent, recordedAt: string): Entry {
    const entry = { ...event, version, sequence: previous.sequence + 1, recordedAt }
    return { ...entry, mac: this.#macOf(previous.mac, entry) }
  }

  /** Whether an entry, at its own or the given sequence, is the one that was made after the given MAC. */
  follows(previousMac: Buffer, entry: Entry, sequence: number = entry.sequence): boolean {
    return same(this.#macOf(previousMac, { ...entry, sequence }), entry.mac)
  }

  /** The MAC that an entry should have. */
  macAfter(previousMac: Buffer, entry: Entry): Buffer {
    return this.#macOf(previousMac, entry)
  }

  state(purpose: Purpose, workspace: string, { sequence, mac }: Link, at: string): Statement {
    return { workspace, sequence, mac, at, seal: this.#sealOf(purpose, { workspace, sequence, mac, at }) }
  }

  isGenuine(purpose: Purpose, statement: Statement): boolean {
    return same(this.#sealOf(purpose, statement), statement.seal)
  }

  #sealOf(purpose: Purpose, { workspace, sequence, mac, at }: Omit<Statement, 'seal'>): Buffer {
    return hmac(this.#seals[purpose], JSON.stringify([version, workspace, sequence, mac.toString('hex'), at]))
  }

  #macOf(previousMac: Buffer, entry: Omit<Entry, 'mac'>): Buffer {
    return hmac(this.#entries, canonical(entry), previousMac)
  }
}

/** JSON without spaces: one encoding per value, and different lists never encode alike. */
const canonical = (entry: Omit<Entry, 'mac'>): string =>
  JSON.stringify([
    entry.version,
    entry.workspace,
    entry.sequence,
    entry.recordedAt,
    entry.eventId,
    entry.occurredAt,
    entry.service,
    entry.action,
    entry.outcome,
    entry.reason,
    entry.actor,
    entry.keyId,
    entry.targets,
    entry.requestId,
    entry.traceId,
    entry.source,
    entry.count,
  ])

function hmac(key: KeyObject, text: string, bytes?: Buffer): Buffer {
  const sum = createHmac('sha256', key).update(text)
  return (bytes === undefined ? sum : sum.update(bytes)).digest()
}

const same = (one: Buffer, other: Buffer): boolean => one.length === other.length && timingSafeEqual(one, other)
