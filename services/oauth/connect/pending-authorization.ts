/** What is kept between the steps of connecting, as JSON. It holds no token and, but for what the vault sealed, no secret. */
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

/** What somebody with a key began. */
const ticketForm = z.object({
  /** Who asked. */
  asker: askerForm,
  provider: z.string(),
  scopes: z.array(z.string()),
  /** Where the browser ends up; a page of ours where empty. It was checked when it came in. */
  returnTo: z.string(),
  /** Whether the provider is to ask for consent also where it had it before. */
  reconsent: z.boolean(),
  /** SHA-256, as hex, of the session of the browser that it is for; any browser's where there is none. */
  session: sha256.optional(),
  /** When all of it ends, in epoch milliseconds, whatever is begun anew on the way; absent in what a release before decision 0033 wrote. */
  endsAt: z.number().optional(),
})

/** What a browser was sent to the provider with. */
const stateForm = ticketForm.extend({
  /** SHA-256 of the cookie, as hex. */
  cookieHash: sha256,
  /** Of PKCE (RFC 7636), sealed by the vault. */
  verifier: z.string(),
  /** Of the id_token. */
  nonce: z.string(),
})

export type Ticket = Readonly<z.infer<typeof ticketForm>>
export type PendingState = Readonly<z.infer<typeof stateForm>>

export const writeStep = (step: Ticket | PendingState): string => JSON.stringify(step)

/** Undefined for what was not written here, e.g. by a version to come. */
export const readTicket = (json: string): Ticket | undefined => read(ticketForm, json)
export const readState = (json: string): PendingState | undefined => read(stateForm, json)

function read<Form extends z.ZodType>(form: Form, json: string): z.infer<Form> | undefined {
  try {
    return form.safeParse(JSON.parse(json)).data
  } catch {
    return undefined
  }
}
