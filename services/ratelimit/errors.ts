/** The ratelimit service has no reasons of its own: without its store it still decides, and a rejected hit is a normal response. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('ratelimit', {})
