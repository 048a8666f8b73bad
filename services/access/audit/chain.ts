/**
 * The chain of a workspace's entries. The MAC of each covers the entry and the MAC before it:
 *
 *   mac 0 = HMAC-SHA256(key, JSON [version, workspace])
 *   mac n = HMAC-SHA256(key, JSON [version, workspace, sequence, recorded_at, event_id, occurred_at, …] ‖ mac n-1)
 *
 * so that without the key no entry can be changed, left out, moved or put in without its showing. Only an end that is cut off leaves a
 * chain that is whole: heads, signed and kept elsewhere, show that. Pure: the key is given, the clock is the store's.
 */
import { type KeyObject, createHmac, createSecretKey, hkdfSync, timingSafeEqual } from 'node:crypto'
import type { AuditEvent } from '#mesh/audit/event.ts'

/** Of the fields that the MAC covers and their order; a row says by which it was made. */
const version = 1

/** How far a chain has got: the sequence and the MAC of its last entry. */
export interface Link {
  readonly sequence: number
  readonly mac: Buffer
}

/** An event in its place. */
export interface Entry extends AuditEvent, Link {
  readonly version: number
  /** When it was taken into the chain: RFC 3339, UTC, with milliseconds. */
  readonly recordedAt: string
}

/** That a chain had got this far at a time. Its sequence is the count of all entries that there ever were. */
export interface Statement extends Link {
  readonly workspace: string
  /** RFC 3339, UTC, with milliseconds. */
  readonly at: string
  /** Proves that it was said by who holds the key. */
  readonly seal: Buffer
}

/** What a statement is for: one cannot be passed off as the other. */
export type Purpose = 'head' | 'checkpoint'

export class Chain {
  readonly #entries: KeyObject
  readonly #seals: Record<Purpose, KeyObject>

  /** The secret is AUDIT_HMAC_KEY; each use has a key of its own, by HKDF-SHA256 (RFC 5869). */
  constructor(secret: string) {
    const derive = (use: string): KeyObject => createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', `relay audit ${use}`, 32)))
    this.#entries = derive('chain')
    this.#seals = { head: derive('heads'), checkpoint: derive('checkpoints') }
  }

  /** What the first entry follows. */
  origin(workspace: string): Link {
    return { sequence: 0, mac: hmac(this.#entries, JSON.stringify([version, workspace])) }
  }

  /** The entry that an event becomes after another. */
  next(previous: Link, event: AuditEvent, recordedAt: string): Entry {
    const entry = { ...event, version, sequence: previous.sequence + 1, recordedAt }
    return { ...entry, mac: this.#macOf(previous.mac, entry) }
  }

  /** Whether an entry, at the sequence that it or the caller says it has, is the one that was made after the MAC given. */
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

/** JSON without spaces: every value in one way, and no two lists of values alike. */
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
