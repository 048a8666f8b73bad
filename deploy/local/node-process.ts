/** How the processes of the mesh are run by Node; bench/README.md has the figures behind it. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** A smaller young generation keeps pauses short and memory small; with a collector at hand a process gives back what it no longer needs (mesh/idle.ts). */
export const nodeFlags = ['--max-semi-space-size=8', '--expose-gc']

/** Compiled code, also what the type stripper made of TypeScript: with it, Node need not load the stripper (20 MB a process). */
export const compileCache = join(import.meta.dirname, '../../.cache/compile')

/** Fills the cache on a fresh checkout, so that the first start is like every other. */
export async function fillCompileCache(mains: readonly string[]): Promise<void> {
  if (existsSync(compileCache)) return
  mkdirSync(compileCache, { recursive: true })
  const env = { PATH: process.env.PATH ?? '', NODE_COMPILE_CACHE: compileCache }
  try {
    await Promise.all(mains.map((main) => promisify(execFile)(process.execPath, [...nodeFlags, main, '--help'], { env, timeout: 60_000 })))
  } catch {
    // Only slower: the mains themselves say what is wrong with them.
    rmSync(compileCache, { recursive: true, force: true })
  }
}
