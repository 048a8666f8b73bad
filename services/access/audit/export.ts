/** A page of an export: as many entries as requested, or as fit into one message. */
import type { Entry } from './chain.ts'
import { entryLine } from './entry-json.ts'
import type { AuditStore, EntryQuery } from './store.ts'

/** The maximum message size of the mesh is 4 MiB. */
const maxBytes = 3 * 1024 * 1024
/** Entries per read. */
const chunk = 500

export interface ExportPage {
  /** Newline-delimited JSON, oldest first. */
  readonly data: Buffer
  /** Where the next page starts; undefined on the last. */
  readonly next: number | undefined
}

export async function exportPage(store: Pick<AuditStore, 'list'>, query: Omit<EntryQuery, 'order'>): Promise<ExportPage> {
  const lines: string[] = []
  let bytes = 0
  let last: Entry | undefined
  let after = query.after
  for (;;) {
    const limit = Math.min(chunk, query.limit - lines.length)
    const { entries, next } = await store.list({ ...query, order: 'oldest first', limit, after })
    for (const entry of entries) {
      const line = entryLine(entry)
      bytes += Buffer.byteLength(line)
      if (bytes > maxBytes) return { data: Buffer.from(lines.join('')), next: last?.sequence }
      lines.push(line)
      last = entry
    }
    // Fewer than requested, although more follow: the search has taken long enough.
    if (next === undefined || lines.length === query.limit || entries.length < limit) return { data: Buffer.from(lines.join('')), next }
    after = next
  }
}
