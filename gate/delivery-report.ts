/**
 * Compares what was requested with what arrived: each executed preview is delivered exactly once, and nothing else is. Every preview has a
 * nonce in the webhook's body, which also reveals a second delivery by another run.
 */

export interface Delivery {
  nonce: string
  /** The webhook-id header. */
  webhookId: string | undefined
}

/** The number of previews per finding. */
export interface DeliveryReport {
  /** Executes whose run ended as `success`: each must have arrived. */
  succeeded: number
  /** Arrived more than once. */
  duplicates: number
  /** Reported as successful, but never arrived. */
  missing: number
  /** Arrived although only a preview was requested. */
  unasked: number
  /** Arrived under an id other than the run's. */
  misnamed: number
  /** Any of these. */
  wrong: number
}

export class Deliveries {
  readonly #asked = new Set<string>()
  readonly #runs = new Map<string, string>()
  readonly #arrived = new Map<string, (string | undefined)[]>()

  /** An execute is about to be sent. Whether it does anything is open until `succeeded`. */
  asked(nonce: string): void {
    this.#asked.add(nonce)
  }

  succeeded(nonce: string, runId: string): void {
    this.#runs.set(nonce, runId)
  }

  arrived({ nonce, webhookId }: Delivery): void {
    const before = this.#arrived.get(nonce)
    if (before === undefined) this.#arrived.set(nonce, [webhookId])
    else before.push(webhookId)
  }

  deliveryReport(): DeliveryReport {
    const found = { duplicates: 0, missing: 0, unasked: 0, misnamed: 0, wrong: 0 }
    for (const nonce of new Set([...this.#asked, ...this.#arrived.keys()])) {
      const arrived = this.#arrived.get(nonce) ?? []
      const runId = this.#runs.get(nonce)
      const is = {
        duplicates: arrived.length > 1,
        missing: runId !== undefined && arrived.length === 0,
        unasked: arrived.length > 0 && !this.#asked.has(nonce),
        misnamed: runId !== undefined && arrived.some((id) => id !== runId),
      }
      for (const [name, wrong] of Object.entries(is)) if (wrong) found[name as keyof typeof is] += 1
      if (Object.values(is).includes(true)) found.wrong += 1
    }
    return { succeeded: this.#runs.size, ...found }
  }
}
