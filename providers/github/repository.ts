/** What both actions share: a repository, text with a marker in it, and requests of one API version. */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { plainText } from '../../services/actions/adapters/plain-text.ts'
import { ApiFailure } from '../../services/actions/adapters/provider-http.ts'
import { errors } from '../../services/actions/errors.ts'

export const repository = {
  owner: z
    .string()
    .regex(/^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})$/, 'must be the name of a user or an organisation')
    .describe('Whose repository it is.'),
  repo: z
    .string()
    .regex(/^(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}$/, 'must be the name of a repository')
    .describe('The repository.'),
}
export const text = plainText(60_000)
/** GitHub has no idempotency key. This marker is written into the text as an HTML comment, which GitHub does not show. */
export const marker = z.uuid().optional().describe('Set by the preview; leave it out.')

export const headers = { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28', 'user-agent': 'Relay' }

/** The marker of a new preview. Throws INVALID_PARAMS if the caller sends one: another issue may contain it. */
export function newMarker(given: string | undefined): string {
  if (given === undefined) return randomUUID()
  throw errors.INVALID_PARAMS({ violations: [{ field: 'params.marker', description: 'is set by the preview: leave it out' }] })
}

const markOf = (its: string) => `<!-- relay ${its} -->`
/** The text as it is sent. */
export const marked = (body: string, its: string | undefined): string =>
  body === '' ? markOf(its ?? '') : `${body}\n\n${markOf(its ?? '')}`
export const isMarked = (body: string | null | undefined, its: string | undefined): boolean =>
  its !== undefined && (body ?? '').includes(markOf(its))

/** The users and teams that the text notifies. */
export function mentionWarnings(body: string): string[] {
  const mentions = [
    ...new Set([...body.matchAll(/(?<![\w`/])@([A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\/[A-Za-z0-9_-]+)?)/g)].map(([, name]) => `@${name}`)),
  ]
  return mentions.length === 0 ? [] : [`GitHub notifies ${mentions.slice(0, 20).join(', ')}${mentions.length > 20 ? ' and others' : ''}.`]
}

export function read<T>(schema: z.ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw new ApiFailure('unclear', 'PROVIDER_GARBLED', 'github answered with something that was not asked for.')
  return parsed.data
}

/** The earliest time of what a run created, for `since`: clocks differ by less than a minute. */
export function sinceOf(recovery: Readonly<Record<string, unknown>> | undefined): string {
  const askedAt = recovery?.asked_at
  return new Date(typeof askedAt === 'number' ? askedAt - 60_000 : 0).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** With a hundred items each. */
export const maxPages = 5
