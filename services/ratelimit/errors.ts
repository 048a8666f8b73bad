/** The ratelimit service has no reason of its own to refuse a call: without its store it still decides, and a refusal is an answer. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('ratelimit', {})
