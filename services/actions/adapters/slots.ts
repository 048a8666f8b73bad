/**
 * How many requests leave at once, and how many wait for their turn. A turn comes before anything that cannot be taken back, so that who
 * gets none has sent nothing; and it comes workspace by workspace, so that one with many slow requests does not keep the others waiting.
 */
import { providerNames } from '#providers/list.ts'
import { FairSlots, type OnTurn, type SlotRefusal } from '#mesh/fair-slots.ts'

/** Each has slots of its own. */
export const queues = ['webhook', 'dns', ...providerNames] as const
export type Queue = (typeof queues)[number]

export interface SlotsOptions {
  /** How many are under way at once. */
  max?: number
  /** How long a request waits for its turn, in milliseconds. */
  timeoutMs?: number
  onTurn?: OnTurn | undefined
}

/** One workspace holds half of them at most, and queues twice as many as are under way in all. */
const slotsOf = (max: number, timeoutMs: number, onTurn?: OnTurn) =>
  new FairSlots({ max, maxPerTenant: Math.ceil(max / 2), maxQueued: 8 * max, maxQueuedPerTenant: 2 * max, timeoutMs }, onTurn)

export const deliverySlots = ({ max = 256, timeoutMs = 10_000, onTurn }: SlotsOptions = {}) => slotsOf(max, timeoutMs, onTurn)

export const providerSlots = ({ max = 64, timeoutMs = 15_000, onTurn }: SlotsOptions = {}) => slotsOf(max, timeoutMs, onTurn)

export const busySentence = (why: Exclude<SlotRefusal, 'stopped'>): string =>
  why === 'full'
    ? 'too many requests wait here already. Try again later.'
    : 'too many other requests were under way here, and its turn did not come in time. Try again later.'
