/**
 * Limits how many requests leave at once, and how many wait for their turn. The turn comes before anything that cannot be undone, so a
 * request without a turn has sent nothing. Workspaces take turns, so that one with many slow requests does not block the others.
 */
import { providerNames } from '#providers/list.ts'
import { FairSlots, type OnTurn, type SlotRefusal } from '#mesh/fair-slots.ts'

/** Each has slots of its own. */
export const queues = ['webhook', 'dns', ...providerNames] as const
export type Queue = (typeof queues)[number]

export interface SlotsOptions {
  /** Maximum requests at once. */
  max?: number
  /** Maximum wait for a turn, in milliseconds. */
  timeoutMs?: number
  onTurn?: OnTurn | undefined
}

/** One workspace holds at most half of them, and queues twice as many as the total. */
const slotsOf = (max: number, timeoutMs: number, onTurn?: OnTurn) =>
  new FairSlots({ max, maxPerTenant: Math.ceil(max / 2), maxQueued: 8 * max, maxQueuedPerTenant: 2 * max, timeoutMs }, onTurn)

export const deliverySlots = ({ max = 256, timeoutMs = 10_000, onTurn }: SlotsOptions = {}) => slotsOf(max, timeoutMs, onTurn)

export const providerSlots = ({ max = 64, timeoutMs = 15_000, onTurn }: SlotsOptions = {}) => slotsOf(max, timeoutMs, onTurn)

export const busySentence = (why: Exclude<SlotRefusal, 'stopped'>): string =>
  why === 'full'
    ? 'too many requests wait here already. Try again later.'
    : 'too many other requests were in flight here, and its turn did not come in time. Retry later.'
