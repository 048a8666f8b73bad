/** Issues tickets: the name of a link of ours, until a person continues from it. */
import { startPath } from './addresses.ts'
import { hashOf, newNonce, writeReference } from './state-token.ts'
import { type Ticket, writeStep } from './pending-authorization.ts'
import type { ConnectStore } from './store.ts'

export interface TicketParts {
  readonly store: Pick<ConnectStore, 'put'>
  /** The public URL for browsers. */
  readonly publicUrl: URL
}

/** How long a ticket, and then a state, is valid. */
export const stepMs = 600_000

/** How long connecting may take, from the first link to the connection, in milliseconds. */
export const connectMs = 2 * stepMs

/** How long a step of it is valid from now on, in milliseconds; 0 once it has ended. */
export const leftMs = ({ endsAt = Infinity }: Pick<Ticket, 'endsAt'>, now = Date.now()): number =>
  Math.max(0, Math.min(stepMs, endsAt - now))

/** The link, on our own origin. */
export async function issueTicket({ store, publicUrl }: TicketParts, ticket: Ticket, now = Date.now()): Promise<string> {
  const { workspace, actor } = ticket.asker
  const nonce = newNonce()
  await store.put({ kind: 'ticket', workspace, hash: hashOf(nonce), actor, content: writeStep(ticket), lifetimeMs: leftMs(ticket, now) })
  return new URL(startPath(writeReference(workspace, nonce)), publicUrl).href
}
