/** Making a ticket: what a link of ours names, until somebody continues from it. */
import { startPath } from './addresses.ts'
import { hashOf, newNonce, writeReference } from './state-token.ts'
import { type Ticket, writeStep } from './pending-authorization.ts'
import type { ConnectStore } from './store.ts'

export interface TicketParts {
  readonly store: Pick<ConnectStore, 'put'>
  /** Where browsers reach this. */
  readonly publicUrl: URL
}

/** How long a ticket, and then a state, may be taken. */
export const stepMs = 600_000

/** The link, on our own origin. */
export async function issueTicket({ store, publicUrl }: TicketParts, ticket: Ticket): Promise<string> {
  const { workspace, actor } = ticket.asker
  const nonce = newNonce()
  await store.put({ kind: 'ticket', workspace, hash: hashOf(nonce), actor, content: writeStep(ticket), lifetimeMs: stepMs })
  return new URL(startPath(writeReference(workspace, nonce)), publicUrl).href
}
