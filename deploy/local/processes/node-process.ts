/** How Node runs the processes of the mesh. bench/README.md has the figures. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

/**
 * A smaller young generation keeps pauses short and memory small. A limit for the old generation, far above what a process needs, makes V8
 * collect earlier: by default it may grow to four times what is in use. V8's middle compiler, Maglev, uses memory that the allocator then
 * keeps (20 to 40 MB per process) and gains nothing here; the same is true of further V8 threads. With --expose-gc, a process returns
 * unused memory (mesh/idle.ts).
 */
export const nodeFlags = ['--max-semi-space-size=8', '--max-old-space-size=512', '--no-maglev', '--v8-pool-size=1', '--expose-gc']

/** glibc's allocator keeps freed memory, separately per thread. One arena, and trimming above 128 KB, prevent that. */
export const allocator = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '131072' }

/** The modules that a process loads before its main file: they record traces if the environment says so. */
export const preload = ['--import', pathToFileURL(join(import.meta.dirname, '../../../mesh/telemetry/start.ts')).href]

/** Compiled code, including the output of the type stripper: with it, Node need not load the stripper (20 MB per process). */
export const compileCache = join(import.meta.dirname, '../../../.cache/compile')

export interface ProcessExit {
  code: number
  stdout: string
  stderr: string
}

/** Runs a program of the mesh until it exits. A program that a signal ended has code -1. */
export function runNode(args: readonly string[], env: Record<string, string>): Promise<ProcessExit> {
  return new Promise((resolve) => {
    const options = { env: { ...env, NODE_COMPILE_CACHE: compileCache }, timeout: 30_000, maxBuffer: 1 << 28 }
    const child = execFile(process.execPath, [...args], options, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

/** Fills the cache in a fresh checkout, so that the first start is as fast as any other. */
export async function fillCompileCache(mains: readonly string[]): Promise<void> {
  if (existsSync(compileCache)) return
  mkdirSync(compileCache, { recursive: true })
  const env = { PATH: process.env.PATH ?? '', NODE_COMPILE_CACHE: compileCache }
  try {
    await Promise.all(
      mains.map((main) => promisify(execFile)(process.execPath, [...nodeFlags, ...preload, main, '--help'], { env, timeout: 60_000 })),
    )
  } catch {
    // Without the cache a start is only slower. The main files report their own errors.
    rmSync(compileCache, { recursive: true, force: true })
  }
}
