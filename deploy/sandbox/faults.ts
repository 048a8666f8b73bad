/** Injected faults: what the next calls to a path meet. */
import { z } from 'zod'

export const faultSchema = z.strictObject({
  /** `*` stands for one segment, `**` at the end for any number of them. */
  path: z.string().min(1).max(512),
  method: z.string().max(10).optional(),
  /**
   * `status`: answered with it, nothing done. `lost`: done, but the connection is cut without a response. `slow`: done after `delay_ms`.
   */
  kind: z.enum(['status', 'lost', 'slow']),
  status: z.int().min(400).max(599).optional(),
  /** Seconds, for 429 and 503. */
  retry_after: z.int().min(0).max(86_400).optional(),
  delay_ms: z.int().min(0).max(600_000).optional(),
  /** How many calls it affects. */
  times: z.int().min(1).max(1_000_000).default(1),
  /** The probability that a call is affected. */
  chance: z.number().gt(0).max(1).default(1),
})

export type Fault = z.infer<typeof faultSchema>

const escaped = (text: string): string => text.replace(/[.+?^${}()|[\]\\]/g, String.raw`\$&`)

const patternOf = (path: string): RegExp =>
  new RegExp(
    `^${path
      .split('/')
      .map((part) => (part === '**' ? '.*' : escaped(part).replaceAll('*', '[^/]*')))
      .join('/')}$`,
  )

export class Faults {
  #faults: { fault: Fault; pattern: RegExp; left: number }[] = []
  readonly #random: () => number

  constructor(random: () => number = Math.random) {
    this.#random = random
  }

  add(fault: Fault): void {
    this.#faults.push({ fault, pattern: patternOf(fault.path), left: fault.times })
  }

  clear(): void {
    this.#faults = []
  }

  /** The faults that are left. */
  list(): (Fault & { left: number })[] {
    return this.#faults.map(({ fault, left }) => ({ ...fault, left }))
  }

  /** The fault that a call meets: the oldest that matches. It then has one call less. */
  take(method: string, path: string): Fault | undefined {
    const found = this.#faults.find(({ fault, pattern }) => (fault.method ?? method) === method && pattern.test(path))
    if (found === undefined || this.#random() >= found.fault.chance) return undefined
    found.left -= 1
    if (found.left === 0) this.#faults = this.#faults.filter((each) => each !== found)
    return found.fault
  }
}
