/** How the processes of the mesh are run by Node; bench/README.md has the figures behind it. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

/**
 * A smaller young generation keeps pauses short and memory small. A limit to the old one, far above what any process needs, has V8 let it grow
 * by less before it collects: by default it may become four times what is in use. V8's middle compiler, Maglev, works in memory that the allocator then keeps
 * (20 to 40 MB a process) and gains nothing here; so does each further thread that V8 works on. With a collector at hand a process gives back what it no longer needs (mesh/idle.ts).
 */
export const nodeFlags = ['--max-semi-space-size=8', '--max-old-space-size=512', '--no-maglev', '--v8-pool-size=1', '--expose-gc']

/** glibc's allocator keeps what was freed, and for each thread apart. With one store for all, and giving back what is more than 128 KB, it does not. */
export const allocator = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '131072' }

/** What a process of the mesh loads before its main: it records traces where the environment says so. */
export const preload = ['--import', pathToFileURL(join(import.meta.dirname, '../../../mesh/telemetry/start.ts')).href]

/** Compiled code, also what the type stripper made of TypeScript: with it, Node need not load the stripper (20 MB a process). */
export const compileCache = join(import.meta.dirname, '../../../.cache/compile')

export interface ProcessExit {
  code: number
  stdout: string
  stderr: string
}

/** Runs a program of the mesh to its end; -1 is the code of one that was ended by a signal. */
export function runNode(args: readonly string[], env: Record<string, string>): Promise<ProcessExit> {
  return new Promise((resolve) => {
    const options = { env: { ...env, NODE_COMPILE_CACHE: compileCache }, timeout: 30_000, maxBuffer: 1 << 28 }
    const child = execFile(process.execPath, [...args], options, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

/** Fills the cache on a fresh checkout, so that the first start is like every other. */
export async function fillCompileCache(mains: readonly string[]): Promise<void> {
  if (existsSync(compileCache)) return
  mkdirSync(compileCache, { recursive: true })
  const env = { PATH: process.env.PATH ?? '', NODE_COMPILE_CACHE: compileCache }
  try {
    await Promise.all(
      mains.map((main) => promisify(execFile)(process.execPath, [...nodeFlags, ...preload, main, '--help'], { env, timeout: 60_000 })),
    )
  } catch {
    // Only slower: the mains themselves say what is wrong with them.
    rmSync(compileCache, { recursive: true, force: true })
  }
}
