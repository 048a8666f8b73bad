/**
 * Signatures over exact bytes: HMAC-SHA256 (RFC 2104, FIPS 180-4), as our X-Signature header (hex) and as the headers of Standard Webhooks
 * 1.0 (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). Both use the same keys
 * (signature-keys.ts).
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** The X-Signature of these bytes: 64 lower-case hex digits. */
export function sign(key: KeyObject, bytes: Uint8Array): string {
  return createHmac('sha256', key).update(bytes).digest('hex')
}

/** Whether `hex` (64 hex digits of either case, nothing around them) signs these bytes; compares in constant time. */
export function verify(key: KeyObject, bytes: Uint8Array, hex: string): boolean {
  if (!/^[0-9a-fA-F]{64}$/.test(hex)) return false
  return timingSafeEqual(createHmac('sha256', key).update(bytes).digest(), Buffer.from(hex, 'hex'))
}

export interface StandardWebhook {
  /** The same for every delivery of one message: receivers deduplicate by it. Contains no full stop. */
  id: string
  timestampSeconds: number
  body: Uint8Array
}

/** The three headers of Standard Webhooks 1.0, with one symmetric (`v1`) signature over `<id>.<timestamp>.<body>` per key. */
export function standardWebhookHeaders(keys: readonly KeyObject[], { id, timestampSeconds, body }: StandardWebhook) {
  const signatures = keys.map((key) => createHmac('sha256', key).update(`${id}.${timestampSeconds}.`).update(body).digest('base64'))
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestampSeconds),
    'webhook-signature': signatures.map((signature) => `v1,${signature}`).join(' '),
  }
}
