/**
 * Signatures over exact bytes: HMAC-SHA256 (RFC 2104, FIPS 180-4), as our X-Signature header (hex) and as the headers of
 * Standard Webhooks 1.0 (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
 *
 * Both use the same key, one a workspace:
 * - workspace `default`: the UTF-8 bytes of ACTIONS_SIGNING_SECRET themselves, as receivers have always had it;
 * - any other: HKDF-SHA256 (RFC 5869) of those bytes, salt `relay/signature/v1`, info `workspace:<name>`, 32 bytes, so that what one
 *   workspace's receivers know signs nothing in the name of another.
 *
 * A receiver that uses a Standard Webhooks library is given `whsec_` + base64(key bytes), for example:
 *   default: printf %s "$ACTIONS_SIGNING_SECRET" | base64
 *   others:  openssl kdf -binary -keylen 32 -kdfopt digest:SHA256 -kdfopt "key:$ACTIONS_SIGNING_SECRET" \
 *              -kdfopt salt:relay/signature/v1 -kdfopt info:workspace:NAME HKDF | base64
 */
import { createHmac, createSecretKey, hkdfSync, timingSafeEqual } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

const cachedKeys = 1000
const keys = new Map<string, KeyObject>()

/** The key that signs for a workspace. Throws when the secret is empty. */
export function workspaceSigningKey(secret: string, workspace: string): KeyObject {
  if (secret === '') throw new Error('The signing secret is empty.')
  // The length keeps ('a', 'bc') and ('ab', 'c') apart.
  const name = `${workspace.length}:${workspace}${secret}`
  const key = keys.get(name) ?? deriveKey(secret, workspace)
  // A Map keeps the order of insertion: the first is the one longest unused.
  keys.delete(name)
  keys.set(name, key)
  if (keys.size > cachedKeys) keys.delete(keys.keys().next().value!)
  return key
}

function deriveKey(secret: string, workspace: string): KeyObject {
  if (workspace === 'default') return createSecretKey(secret, 'utf8')
  return createSecretKey(Buffer.from(hkdfSync('sha256', secret, 'relay/signature/v1', `workspace:${workspace}`, 32)))
}

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
  /** The same for every delivery of one message: receivers dedupe by it. Holds no full stop. */
  id: string
  timestampSeconds: number
  body: Uint8Array
}

/** The three headers of Standard Webhooks 1.0, with a symmetric (`v1`) signature over `<id>.<timestamp>.<body>`. */
export function standardWebhookHeaders(key: KeyObject, { id, timestampSeconds, body }: StandardWebhook) {
  const signature = createHmac('sha256', key).update(`${id}.${timestampSeconds}.`).update(body).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': String(timestampSeconds), 'webhook-signature': `v1,${signature}` }
}
