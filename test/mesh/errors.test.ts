import { describe, expect, test } from 'vitest'
import { MeshError, errorTable, meshErrors } from '#mesh/errors.ts'

const errors = errorTable('library', {
  LENT: { code: 'FAILED_PRECONDITION', message: 'The book is lent.' },
  LOST: { code: 'NOT_FOUND', message: 'The book is lost.' },
})

describe('a table of errors', () => {
  test('makes errors that name their domain, reason, code and public sentence', () => {
    const error = errors.LENT()
    expect(error).toBeInstanceOf(MeshError)
    expect(error).toMatchObject({ domain: 'library', reason: 'LENT', code: 'FAILED_PRECONDITION', message: 'The book is lent.' })
    expect(error).toMatchObject({ violations: [], retryAfterMs: undefined, metadata: {} })
  })

  test('lets a case say more', () => {
    const cause = new Error('the driver’s words')
    const error = errors.LENT({
      message: 'Lent to Ann.',
      retryAfterMs: 5,
      metadata: { to: 'ann' },
      violations: [{ field: 'book', description: 'is lent' }],
      cause,
    })
    expect(error).toMatchObject({
      message: 'Lent to Ann.',
      retryAfterMs: 5,
      metadata: { to: 'ann' },
      violations: [{ field: 'book', description: 'is lent' }],
    })
    expect(error.cause).toBe(cause)
  })

  test('is closed', () => {
    expect(() => Object.assign(errors, { NEW: () => errors.LOST() })).toThrow(TypeError)
  })

  test('can be enumerated, so that documents and tests can be held to it', () => {
    expect(errors.domain).toBe('library')
    expect(Object.keys(errors.rows)).toEqual(['LENT', 'LOST'])
  })
})

describe('what any process may answer', () => {
  test('never claims that nothing was done where that cannot be known', () => {
    for (const reason of ['DEPENDENCY_UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED', 'INTERNAL'] as const) {
      expect(meshErrors[reason]().message, reason).not.toMatch(/nothing was done/)
    }
  })

  test('is a sentence', () => {
    for (const [reason, { message }] of Object.entries(meshErrors.rows)) expect(message, reason).toMatch(/^[A-Z].*[.>]$/)
  })
})
