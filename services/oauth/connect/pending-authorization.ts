/** The data between the steps of connecting, as JSON. It contains no token and, except for what the vault encrypted, no secret. */
import { z } from 'zod'

const askerForm = z.object({
  workspace: z.string(),
  actor: z.string(),
  keyId: z.string(),
  requestId: z.string(),
  traceId: z.string(),
  source: z.string(),
})

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)

/** What a caller with a key began. */
const ticketForm = z.object({
  /** The caller. */
  asker: askerForm,
  provider: z.string(),
  scopes: z.array(z.string()),
  /** Where the browser ends up; a page of ours if empty. It was checked when it arrived. */
  returnTo: z.string(),
  /** Whether the provider must request consent again. */
  reconsent: z.boolean(),
  /** SHA-256, as hex, of the session of the browser that it is for; any browser's if absent. */
  session: sha256.optional(),
  /** When all of it expires, in epoch milliseconds, whatever is restarted on the way; absent in data of releases before decision 0033. */
  endsAt: z.number().optional(),
})

/** The data of a browser that was sent to the provider. */
const stateForm = ticketForm.extend({
  /** SHA-256 of the cookie, as hex. */
  cookieHash: sha256,
  /** Of PKCE (RFC 7636), encrypted by the vault. */
  verifier: z.string(),
  /** Of the id_token. */
  nonce: z.string(),
})

export type Ticket = Readonly<z.infer<typeof ticketForm>>
export type PendingState = Readonly<z.infer<typeof stateForm>>

export const writeStep = (step: Ticket | PendingState): string => JSON.stringify(step)

/** Undefined for other data, e.g. of a later version. */
export const readTicket = (json: string): Ticket | undefined => read(ticketForm, json)
export const readState = (json: string): PendingState | undefined => read(stateForm, json)

function read<Form extends z.ZodType>(form: Form, json: string): z.infer<Form> | undefined {
  try {
    return form.safeParse(JSON.parse(json)).data
  } catch {
    return undefined
  }
}
