import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createLogger } from '#mesh/telemetry/log.ts'
import type { Entry, Statement } from '../../../../services/access/audit/chain.ts'
import { appendHeads } from '../../../../services/access/audit/heads-file.ts'
import { type End, ChainHeads, headLine, parseHead } from '../../../../services/access/audit/heads.ts'
import type { ChainReader, ChainView } from '../../../../services/access/audit/store.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { chain, longChain, workspace } from './chained.ts'

const at = '2026-02-01T00:00:00.000Z'

/** Chains that end here when the process starts. */
const reading = (ends: readonly End[] = []): ChainReader => ({
  look: (work) =>
    work({
      async *workspaces() {
        for (const end of ends) yield end.workspace
      },
      last: async (of: string) => ends.find((end) => end.workspace === of),
    } as unknown as ChainView),
})

describe('heads', () => {
  let lines: Record<string, unknown>[]
  let kept: string[]
  beforeEach(() => {
    lines = []
    kept = []
  })
  // At a level at which little is logged.
  const log = () => createLogger('access', 'error', { write: (line) => void lines.push(JSON.parse(line)) })
  const open = (over: Partial<ConstructorParameters<typeof ChainHeads>[0]> = {}) =>
    new ChainHeads({
      chain,
      intervalMs: 3_600_000,
      log: log(),
      reader: reading(),
      keep: async (each) => void kept.push(...each),
      now: () => new Date(at),
      ...over,
    })
  const told = (): Statement[] => kept.map((line) => parseHead(line)!)

  test('say how far each chain has got, signed, in the log and in the file alike', async () => {
    const heads = open()
    const entries = longChain(3)
    const other = { workspace: 'other', sequence: 7, mac: Buffer.alloc(32, 7) }
    heads.note(entries)
    heads.note([other])
    await heads.tell()
    expect(told()).toMatchObject([
      { workspace, sequence: 3, mac: entries[2]!.mac, at },
      { ...other, at },
    ])
    for (const head of told()) expect(chain.isGenuine('head', head)).toBe(true)
    expect(lines.map((line) => line['msg'])).toEqual(['audit head', 'audit head'])
    expect(lines.map((line) => parseHead(JSON.stringify(line)))).toEqual(told())
  })

  test('are told of a chain once, and again when it has grown; the farthest is told, whichever was noted last', async () => {
    const heads = open()
    const [first, second, third] = longChain(3) as [Entry, Entry, Entry]
    heads.note([first, second])
    await heads.tell()
    await heads.tell()
    heads.note([third])
    heads.note([second])
    await heads.tell()
    expect(told().map(({ sequence }) => sequence)).toEqual([2, 3])
  })

  test('that could not be kept are told again, as far as the chain has got then', async () => {
    let full = true
    const heads = open({
      async keep(each) {
        if (full) throw new Error('no space left')
        kept.push(...each)
      },
    })
    const [first, second] = longChain(2) as [Entry, Entry]
    heads.note([first])
    await expect(heads.tell()).rejects.toThrow('no space left')
    full = false
    heads.note([second])
    await heads.tell()
    expect(told().map(({ sequence }) => sequence)).toEqual([2])
  })

  test('noted while others are being kept are not lost', async () => {
    const [first, second] = longChain(2) as [Entry, Entry]
    const heads = open({
      async keep(each) {
        if (kept.length === 0) heads.note([second])
        kept.push(...each)
      },
    })
    heads.note([first])
    await heads.tell()
    await heads.tell()
    expect(told().map(({ sequence }) => sequence)).toEqual([1, 2])
  })

  test('begin with what the database has when the process starts, and are told for the last time when it stops', async () => {
    const [first, second] = longChain(2) as [Entry, Entry]
    const heads = open({ reader: reading([first]) })
    heads.start()
    await until('the first head', () => kept.length === 1)
    heads.note([second])
    await heads.stop()
    expect(told().map(({ sequence }) => sequence)).toEqual([1, 2])
  })
})

describe('a file of heads', () => {
  let folder: string
  let path: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'relay-heads-'))
    path = join(folder, 'heads.ndjson')
  })
  afterEach(() => rmSync(folder, { recursive: true }))
  const content = () => readFileSync(path, 'utf8')

  test('is made for its owner alone, and only ever added to', async () => {
    await appendHeads(path, [])
    expect(content()).toBe('')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    await appendHeads(path, ['1\n', '2\n'])
    await appendHeads(path, ['3\n'])
    expect(content()).toBe('1\n2\n3\n')
  })

  test('goes on behind a line that a crash tore, and anew where it was moved away', async () => {
    appendFileSync(path, '{"workspace":"ac')
    await appendHeads(path, ['1\n'])
    expect(content()).toBe('{"workspace":"ac\n1\n')
    renameSync(path, `${path}.1`)
    await appendHeads(path, ['2\n'])
    expect(content()).toBe('2\n')
  })

  test('that cannot be written is an error', async () => {
    mkdirSync(path)
    await expect(appendHeads(path, ['1\n'])).rejects.toThrow('EISDIR')
  })
})

describe('a line', () => {
  const head = chain.state('head', workspace, longChain(1)[0]!, at)

  test('of a file is read as it was written', () => {
    expect(parseHead(headLine(head))).toEqual(head)
  })

  const headless = ['', 'null', '7', '[]', '{}', '{"head":null}', '{"workspace":"a","seq', '{"msg":"audit head","head":"x"}']
  test.each(headless)('without a head has none: %s', (line) => {
    expect(parseHead(line)).toBeUndefined()
  })

  test.each([{ mac: 7 }, { sequence: '1' }, { seal: null }, { workspace: {} }, { at: [] }, { seal: 'zz' }])(
    'with a head that has %o is read, and the head is not genuine',
    (over) => {
      const parsed = parseHead(JSON.stringify({ ...(JSON.parse(headLine(head)) as object), ...over }))!
      expect(chain.isGenuine('head', parsed)).toBe(false)
    },
  )
})
