/** The reasons of every process: proto/gen/reasons.json, generated from the error tables, because the gateway imports no service. */
import { readFileSync } from 'node:fs'

export interface DocumentedReason {
  reason: string
  /** The gRPC code. */
  code: string
  /** The HTTP status. */
  status: number
  meaning: string
  /** The table that has it: mesh, gateway, or a service. */
  domain: string
}

export function documentedReasons(): DocumentedReason[] {
  const file = new URL('../../proto/gen/reasons.json', import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8')) as DocumentedReason[]
}
