/** What must hold of the permissions in the contracts; which they are stands in test/golden/rpc-policy.txt. */
import { describe, expect, test } from 'vitest'
import { methods } from '#mesh/grpc/descriptors.ts'

describe('every method of the contracts', () => {
  test('is for callers with a permission, for peers, or for anybody: never for two of them', () => {
    for (const { path, permission, peers, open } of methods.values()) {
      expect([permission !== undefined, peers.length > 0, open].filter(Boolean), path).toEqual([true])
    }
  })

  test('is widened only where it has a permission, and by another one', () => {
    const widened = [...methods.values()].filter(({ widenedBy }) => widenedBy !== undefined)
    expect(widened.length).toBeGreaterThan(0)
    for (const { path, permission, widenedBy } of widened) {
      expect(permission, path).toBeDefined()
      expect(widenedBy, path).not.toBe(permission)
    }
  })
})
