/**
 * Verifies the chains, and finds the first fault of each. An entry is valid if it follows the one before it; the entries after an invalid
 * one show what happened to it. Pure: it reads its input once, forwards, and holds only a few entries of it.
 */
import type { Chain, Entry, Link, Statement } from './chain.ts'
import type { ChainView } from './store.ts'

export type Fault = 'edited' | 'deleted' | 'reordered' | 'cut from the end' | 'forged head' | 'forged checkpoint'

export interface Finding {
  readonly workspace: string
  readonly sequence: number
  /** The event of the entry at this place or next to it; undefined if there is none. */
  readonly eventId: string | undefined
  readonly fault: Fault
  readonly sentence: string
}

/** A chain that is intact. */
export interface IntactChain {
  readonly last: Link
  readonly lastEventId: string | undefined
  /** The sequence of its first entry. */
  readonly start: Link
}

/** Maximum renumberings that are recognised as such; further ones are still detected. */
const farthestShift = 10_000
/** Heads that are looked up together. */
const headsAtOnce = 1000

export interface ChainedEntry {
  /** Both by sequence. */
  readonly checkpoints: AsyncIterable<Statement> | Iterable<Statement>
  readonly entries: AsyncIterable<Entry> | Iterable<Entry>
}

/** `seen` is called for each entry. */
export async function verifyChain(
  chain: Chain,
  workspace: string,
  chained: ChainedEntry,
  seen?: () => void,
): Promise<IntactChain | Finding> {
  let start = chain.origin(workspace)
  for await (const checkpoint of chained.checkpoints) {
    if (!chain.isGenuine('checkpoint', checkpoint)) {
      return finding(workspace, checkpoint.sequence, undefined, 'forged checkpoint', 'a holder of the key did not make this checkpoint')
    }
    start = checkpoint
  }
  let last: Link & Partial<Entry> = start
  let doubt: Doubt | undefined
  for await (const entry of chained.entries) {
    seen?.()
    if (doubt !== undefined) doubt.consider(entry)
    else if (entry.sequence === last.sequence + 1 && chain.follows(last.mac, entry)) last = entry
    else doubt = new Doubt(chain, workspace, last, entry)
  }
  return doubt?.conclude() ?? { start, last: { sequence: last.sequence, mac: last.mac }, lastEventId: last.eventId }
}

/** An entry that does not follow the one before it, and what the later entries say about the cause. */
class Doubt {
  readonly #chain: Chain
  readonly #workspace: string
  readonly #previous: Link
  readonly #entry: Entry
  /** The entry after it. */
  #next: Entry | undefined
  /** The entry that belongs at this place. */
  #rightful: Entry | undefined

  constructor(chain: Chain, workspace: string, previous: Link, entry: Entry) {
    this.#chain = chain
    this.#workspace = workspace
    this.#previous = previous
    this.#entry = entry
    this.#claim(entry)
  }

  consider(entry: Entry): void {
    this.#next ??= entry
    if (this.#rightful === undefined) this.#claim(entry)
  }

  conclude(): Finding {
    const here = this.#previous.sequence + 1
    const { sequence, eventId } = this.#entry
    const found = (fault: Fault, detail: string) => finding(this.#workspace, here, eventId, fault, detail)
    if (this.#rightful !== undefined && this.#rightful.sequence !== here) {
      const { sequence: there, eventId: its } = this.#rightful
      return found('reordered', `the entry that belongs here, event ${plain(its)}, is at ${there}`)
    }
    if (sequence < here)
      return finding(this.#workspace, sequence, eventId, 'reordered', 'its place belongs to another entry or to a removed one')
    if (sequence > here) return found('deleted', `${missing(here, sequence - 1)} before this event`)
    const shift = this.#shift()
    if (shift > 0) return found('deleted', `${missing(here, here + shift - 1)} before this event, which was then renumbered`)
    return found('edited', 'this entry differs from the recorded one')
  }

  #claim(entry: Entry): void {
    if (this.#chain.follows(this.#previous.mac, entry, this.#previous.sequence + 1)) this.#rightful = entry
  }

  /** The shift by which the numbers from here on were lowered: the next entry was made for a higher one. */
  #shift(): number {
    if (this.#next === undefined) return 0
    const own = this.#entry.sequence + 1
    // If only the MAC was changed, the next entry follows the correct entry.
    if (this.#chain.follows(this.#chain.macAfter(this.#previous.mac, this.#entry), this.#next, own)) return 0
    for (let shift = 0; shift <= farthestShift; shift += 1) {
      if (this.#chain.follows(this.#entry.mac, this.#next, own + shift)) return shift
    }
    return 0
  }
}

/** Compares an intact chain with a head; `mac` is that of the entry at its sequence. */
export function verifyHead(chain: Chain, head: Statement, whole: IntactChain, mac: Buffer | undefined): Finding | undefined {
  const { workspace, sequence, at } = head
  const { start, last, lastEventId } = whole
  if (!chain.isGenuine('head', head)) {
    return finding(workspace, sequence, undefined, 'forged head', `a holder of the key did not make the head of ${plain(at)}`)
  }
  if (sequence > last.sequence) {
    const detail = `${missing(last.sequence + 1, sequence)} at the end, according to the head of ${at}`
    return finding(workspace, last.sequence + 1, lastEventId, 'cut from the end', `this is the last event; ${detail}`)
  }
  // Only the end is known of the part that retention removed.
  const known = sequence === start.sequence ? start.mac : mac
  if (sequence < start.sequence || known?.equals(head.mac) === true) return undefined
  return finding(
    workspace,
    sequence,
    undefined,
    'cut from the end',
    `other entries replace the end that was cut off, according to the head of ${at}`,
  )
}

export interface LogParts {
  chain: Chain
  view: ChainView
  /** All if undefined. */
  workspace?: string | undefined
  heads?: AsyncIterable<Statement> | Iterable<Statement>
  /** Called for each entry. */
  seen?: (workspace: string) => void
}

export interface Verdict {
  /** The first fault of each chain that is not intact. */
  readonly findings: readonly Finding[]
  readonly workspaces: number
  readonly entries: number
  readonly heads: number
}

export async function verifyLog({ chain, view, workspace: only, heads = [], seen }: LogParts): Promise<Verdict> {
  const findings = new Map<string, Finding>()
  const wholes = new Map<string, IntactChain>()
  let entries = 0
  for await (const workspace of only === undefined ? view.workspaces() : [only]) {
    const chained = { checkpoints: view.checkpoints(workspace), entries: view.entries(workspace) }
    const verified = await verifyChain(chain, workspace, chained, () => {
      entries += 1
      seen?.(workspace)
    })
    if ('fault' in verified) findings.set(workspace, verified)
    else wholes.set(workspace, verified)
  }
  const workspaces = wholes.size + findings.size
  let count = 0
  for await (const group of groups(heads, headsAtOnce)) {
    for (const [workspace, its] of Map.groupBy(group, (head) => head.workspace)) {
      if (only !== undefined && workspace !== only) continue
      count += its.length
      if (findings.has(workspace)) continue
      const start = chain.origin(workspace)
      const whole = wholes.get(workspace) ?? { start, last: start, lastEventId: undefined }
      const sequences = its.map(({ sequence }) => sequence).filter(Number.isSafeInteger)
      const macs = await view.macs(workspace, sequences)
      for (const head of its) {
        const found = verifyHead(chain, head, whole, macs.get(head.sequence))
        if (found === undefined) continue
        findings.set(workspace, found)
        break
      }
    }
  }
  return { findings: [...findings.values()], workspaces, entries, heads: count }
}

async function* groups<T>(items: AsyncIterable<T> | Iterable<T>, size: number): AsyncIterable<T[]> {
  let group: T[] = []
  for await (const item of items) {
    group.push(item)
    if (group.length < size) continue
    yield group
    group = []
  }
  if (group.length > 0) yield group
}

function finding(workspace: string, sequence: number, eventId: string | undefined, fault: Fault, detail: string): Finding {
  const event = eventId === undefined ? '' : `, event ${plain(eventId)}`
  const sentence = `workspace ${JSON.stringify(workspace)}, sequence ${sequence}${event}: ${fault}: ${detail}`
  return { workspace, sequence, eventId, fault, sentence }
}

const missing = (from: number, to: number): string => (from === to ? `entry ${from} is missing` : `entries ${from} to ${to} are missing`)

/** Data from elsewhere is escaped before it reaches a terminal. */
const plain = (text: string): string => (/^[\w:.-]+$/.test(text) ? text : JSON.stringify(text))
