/** Files that hold what the project promised before. `UPDATE_GOLDEN=1` writes them anew; the difference is then for a person to judge. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'

export const updating = process.env.UPDATE_GOLDEN === '1'

export function expectGolden(name: string, actual: string): void {
  const file = join(import.meta.dirname, name)
  if (updating) writeFileSync(file, actual)
  expect(existsSync(file), `test/golden/${name} does not exist: UPDATE_GOLDEN=1 writes it`).toBe(true)
  expect(actual, `test/golden/${name} holds something else; if the change is meant, UPDATE_GOLDEN=1 writes it anew`).toBe(
    readFileSync(file, 'utf8'),
  )
}
