/** The time of one durable write on this disk: the minimum of everything that commits. */
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { percentile } from '../measure/statistics.ts'

/** The median time of an fdatasync of 8 KiB (one page of Postgres's log) in this folder, in milliseconds. */
export function measureFsync(folder: string, times = 200): number {
  const path = join(folder, `fsync-${process.pid}`)
  const file = openSync(path, 'w')
  try {
    const page = Buffer.alloc(8192, 1)
    const took = Array.from({ length: times }, (_, index) => {
      // Rewrites the same pages, as Postgres does with its log files.
      writeSync(file, page, 0, page.length, (index % 16) * page.length)
      const start = performance.now()
      fdatasyncSync(file)
      return performance.now() - start
    })
    return percentile(Float64Array.from(took).sort(), 0.5)
  } finally {
    closeSync(file)
    rmSync(path)
  }
}
