/** Where a page ends, as clients carry it. */
import { expect, test } from 'vitest'
import { readPageToken, writePageToken } from '#mesh/page-token.ts'

const end = { atUs: '1795387200000123', id: '3a033cc1-0000-4000-8000-000000000001' }

test('a written token is read back, and the empty one stands for the first page and after the last', () => {
  expect(readPageToken(writePageToken(end))).toEqual(end)
  expect([writePageToken(undefined), readPageToken('')]).toEqual(['', undefined])
})

test.each(['x', '%', `${end.atUs} ${end.id} `, `${end.atUs} x`, `-1 ${end.id}`, `${end.atUs} ${end.id}' OR 1=1`])(
  'a token that says %j is refused by the name of its field',
  (said) => {
    for (const token of [said, Buffer.from(said).toString('base64url')]) {
      expect(() => readPageToken(token)).toThrow(
        expect.objectContaining({ violations: [expect.objectContaining({ field: 'page_token' })] }),
      )
    }
  },
)
