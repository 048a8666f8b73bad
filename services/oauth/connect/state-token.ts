/**
 * The reference to a step of connecting in a URL: `<base64url of the workspace>.<nonce>`, with 32 random bytes as base64url for the nonce.
 * Only the nonce's hash is stored, so that a reader of the store cannot use it. The workspace is part of the key, so that none can take
 * another's.
 */
import { createHash, randomBytes } from 'node:crypto'

export interface StateToken {
  readonly workspace: string
  /** SHA-256 of the nonce, as hex. */
  readonly hash: string
}

/** 32 random bytes as base64url. */
export const newNonce = (): string => randomBytes(32).toString('base64url')

export const hashOf = (nonce: string): string => createHash('sha256').update(nonce).digest('hex')

export const writeReference = (workspace: string, nonce: string): string => `${Buffer.from(workspace).toString('base64url')}.${nonce}`

/** The contract's maximum length of a ticket: 256 characters. */
const form = /^([A-Za-z0-9_-]{2,212})\.([A-Za-z0-9_-]{43})$/

/** Undefined for anything that `writeReference` does not write: each reference has one spelling. */
export function readStateToken(text: string): StateToken | undefined {
  const match = form.exec(text)
  if (match === null) return undefined
  const [workspace, nonce] = [Buffer.from(match[1]!, 'base64url').toString(), match[2]!]
  // Otherwise unused bits could vary, and bytes that are not UTF-8 would all read alike.
  const canonical = writeReference(workspace, Buffer.from(nonce, 'base64url').toString('base64url'))
  return canonical === text && workspace.length <= 128 ? { workspace, hash: hashOf(nonce) } : undefined
}
