/** A file to which heads are appended, durable across a power failure. */
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'

const lineFeed = 0x0a

/**
 * Appends lines, and resolves once the disk has them. The file is opened for each write, so that it can be moved away, and created if it
 * does not exist. A line that a crash cut is ended first, so that it does not corrupt the next.
 */
export async function appendHeads(path: string, lines: readonly string[]): Promise<void> {
  const file = await open(path, 'a+', 0o600)
  let size: number
  try {
    ;({ size } = await file.stat())
    const end = size === 0 ? lineFeed : (await file.read(Buffer.alloc(1), 0, 1, size - 1)).buffer[0]
    await file.appendFile((end === lineFeed ? '' : '\n') + lines.join(''))
    await file.sync()
  } finally {
    await file.close()
  }
  if (size === 0) await syncFolder(dirname(path))
}

/** The name of a file is durable once its folder is synced. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
