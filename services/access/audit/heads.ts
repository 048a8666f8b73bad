/**
 * The head of each chain, signed and published outside the database: in the log, and in a file if one is configured. If an attacker cuts
 * off the end of a chain, the chain still verifies but is shorter than a head says. Only entries that this process added are signed, not
 * what the database says later.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Chain, Link, Statement } from './chain.ts'
import type { ChainReader } from './store.ts'

/** The last entry of a chain. */
export interface End extends Link {
  readonly workspace: string
}

export interface HeadsParts {
  chain: Chain
  intervalMs: number
  log: Logger
  /** The ends of the chains at the start of the process: a killed process has not signed its last entries. */
  reader: ChainReader
  /** Writes lines durably (heads-file.ts). */
  keep?: ((lines: readonly string[]) => Promise<void>) | undefined
  now?: () => Date
}

export class ChainHeads {
  readonly #parts: HeadsParts
  readonly #log: Logger
  readonly #loop: Loop
  /** Heads that are not published yet. */
  readonly #ends = new Map<string, End>()
  #caughtUp = false

  constructor(parts: HeadsParts) {
    this.#parts = parts
    // Independent of the log level.
    this.#log = parts.log.child({}, { level: 'info' })
    this.#loop = new Loop({ name: 'audit heads', intervalMs: parts.intervalMs, log: parts.log, work: () => this.#round() })
  }

  start(): void {
    this.#loop.start()
  }

  /** Publishes the remaining heads. Call it once nothing is added any more. */
  async stop(): Promise<void> {
    await this.#loop.stop()
    await this.tell()
  }

  note(ends: readonly End[]): void {
    for (const { workspace, sequence, mac } of ends) {
      const known = this.#ends.get(workspace)
      if (known === undefined || known.sequence < sequence) this.#ends.set(workspace, { workspace, sequence, mac })
    }
  }

  /** Throws if the lines cannot be kept; they are then published again. */
  async tell(): Promise<void> {
    const ends = [...this.#ends.values()]
    if (ends.length === 0) return
    const { chain, keep, now = () => new Date() } = this.#parts
    const at = now().toISOString()
    const heads = ends.map((end) => fieldsOf(chain.state('head', end.workspace, end, at)))
    for (const head of heads) this.#log.info({ head }, 'audit head')
    await keep?.(heads.map((head) => `${JSON.stringify(head)}\n`))
    for (const end of ends) if (this.#ends.get(end.workspace) === end) this.#ends.delete(end.workspace)
  }

  async #round(): Promise<boolean> {
    if (!this.#caughtUp) {
      this.note(await endsOf(this.#parts.reader))
      // A file that cannot be written is reported now, not when there is something to write.
      await this.#parts.keep?.([])
      this.#caughtUp = true
    }
    await this.tell()
    return false
  }
}

/** The current ends of the chains in the database; of one workspace if given. */
export const endsOf = (reader: ChainReader, only?: string): Promise<End[]> =>
  reader.look(async (view) => {
    const ends: End[] = []
    for await (const workspace of view.workspaces()) {
      const last = only === undefined || only === workspace ? await view.last(workspace) : undefined
      if (last !== undefined) ends.push({ workspace, sequence: last.sequence, mac: last.mac })
    }
    return ends
  })

/** A statement in the field names of the log and of files; the log redacts none of them. */
const fieldsOf = ({ workspace, sequence, mac, at, seal }: Statement) => ({
  workspace,
  sequence,
  mac: mac.toString('hex'),
  at,
  seal: seal.toString('hex'),
})

/** A line of a heads file, with its line feed. */
export const headLine = (statement: Statement): string => `${JSON.stringify(fieldsOf(statement))}\n`

/**
 * The head on a line of a heads file or of the service's log; undefined if the line has none, e.g. if a crash cut it. The values are read
 * as they are: the seal shows whether they are genuine.
 */
export function parseHead(line: string): Statement | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const fields = ('head' in value && typeof value.head === 'object' && value.head !== null ? value.head : value) as Record<string, unknown>
  if (!('seal' in fields)) return undefined
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '')
  const sequence = typeof fields['sequence'] === 'number' ? fields['sequence'] : 0
  const [mac, seal] = [Buffer.from(text('mac'), 'hex'), Buffer.from(text('seal'), 'hex')]
  return { workspace: text('workspace'), sequence, mac, at: text('at'), seal }
}
