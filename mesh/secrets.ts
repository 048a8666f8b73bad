/** What makes a secret too weak for production. */
import type { Secret } from './config.ts'

/** Shorter secrets can be guessed. */
const minLength = 32
/** Secrets from examples, and repetitions, which only look long. */
const guessable = /change.?me|example|password|secret.?key|test.?secret|^(.{1,8})\1+$/i

/** The problem, as a clause after its variable's name; undefined if there is none. */
export function weaknessOf(secret: Secret | undefined): string | undefined {
  const value = secret?.reveal()
  if (value === undefined || value === '') return 'is not set'
  if (value.length < minLength) return `is shorter than ${minLength} characters`
  return guessable.test(value) ? 'is a well-known placeholder' : undefined
}
