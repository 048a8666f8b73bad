/** A file that heads are added to, and that outlives the machine's losing power. */
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'

const lineFeed = 0x0a

/**
 * Adds lines, and resolves once the disk has them. The file is opened anew each time, so that it can be moved away; it is made where there
 * is none. A line that a crash tore is ended first, so that it spoils no other.
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

/** A file's name is in its folder, and lasts once that does. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
