/** The receivers of docs/webhooks.md, as they stand there: each takes what Relay signs, and nothing else. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { type KeyObject, createSecretKey, randomBytes, randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { standardWebhookHeaders } from '#mesh/signature.ts'
import { webhookSecretOf } from '#mesh/signature-keys.ts'
import { freePort } from '../deploy/local/state/state-dir.ts'
import { until } from './fixtures/mesh/until.ts'
import { needsPython, needsThat, python } from './setup/needs.ts'

const cache = join(import.meta.dirname, '../.cache')
const page = readFileSync(join(import.meta.dirname, '../docs/webhooks.md'), 'utf8')
const codeIn = (language: string): string => new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``).exec(page)?.[1] ?? ''

/** Where each can be run, and how. Python and Go need their library: Go has it in its module cache. */
const goModule = 'github.com/standard-webhooks/standard-webhooks/libraries'
const goMod = `module receiver\n\ngo 1.22\n\nrequire ${goModule} v0.0.1\n`
const goSum = `${goModule} v0.0.1 h1:uOfcYT+3QungH6tIGSVCR/Y3KJmgJiHcojJbMTPDZAI=\n${goModule} v0.0.1/go.mod h1:L1MQhA6x4dn9r007T033lsaZMv9EmBAdXyU/+EF40fo=\n`
const offline = { GOPROXY: 'off', GOFLAGS: '-mod=mod', GONOSUMDB: '*' }

const receivers = [
  { language: 'js', file: 'receiver.mjs', command: [process.execPath, 'receiver.mjs'], need: undefined },
  {
    language: 'python',
    file: 'receiver.py',
    command: [python, '-u', 'receiver.py'],
    need: needsPython(['standardwebhooks'], 'pip install standardwebhooks'),
  },
  {
    language: 'go',
    file: 'main.go',
    command: ['go', 'run', '.'],
    need: needsThat(hasGoModule(), `Go is missing, or has no ${goModule} (go mod download)`),
  },
]

function hasGoModule(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'relay-go-'))
  try {
    writeFileSync(join(folder, 'go.mod'), goMod)
    return spawnSync('go', ['mod', 'download', goModule], { cwd: folder, env: { ...process.env, ...offline } }).status === 0
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe.each(receivers)('the receiver in $language', ({ language, file, command, need }) => {
  const runs = need?.skip !== true
  const newKey = () => createSecretKey(randomBytes(32))
  const [key, older, strange] = [newKey(), newKey(), newKey()]
  const body = Buffer.from('{"patient":"Grüße"}')
  let folder: string
  let receiver: ChildProcess | undefined
  let url = ''

  const sent = async (bytes: Buffer, headers: Record<string, string>): Promise<number> =>
    (await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: new Uint8Array(bytes) })).status
  const signed = (keys: readonly KeyObject[], agoS = 0) =>
    standardWebhookHeaders(keys, { id: randomUUID(), timestampSeconds: Math.floor(Date.now() / 1000) - agoS, body })

  beforeAll(async () => {
    if (!runs) return
    // Within this repository, so that Node finds the library among ours.
    mkdirSync(cache, { recursive: true })
    folder = mkdtempSync(join(cache, `receiver-${language}-`))
    writeFileSync(join(folder, file), codeIn(language))
    if (language === 'go') {
      writeFileSync(join(folder, 'go.mod'), goMod)
      writeFileSync(join(folder, 'go.sum'), goSum)
    }
    const port = await freePort()
    url = `http://127.0.0.1:${port}/`
    const env = { ...process.env, ...offline, WEBHOOK_KEY: webhookSecretOf(key), PORT: String(port) }
    receiver = spawn(command[0]!, command.slice(1), { cwd: folder, env, stdio: 'ignore', detached: true })
    const responses = () =>
      sent(body, {}).then(
        () => true,
        () => false,
      )
    await until('the receiver answers', responses, 100_000)
  }, 120_000)
  afterAll(() => {
    // Go runs what it has built as a child of its own.
    if (receiver?.pid !== undefined) process.kill(-receiver.pid, 'SIGKILL')
    if (folder !== undefined) rmSync(folder, { recursive: true })
  })

  test('stands on the page', () => {
    expect(codeIn(language)).toMatch(/verify/i)
  })

  test('takes what its key signs, also beside the key before', need ?? {}, async () => {
    expect([await sent(body, signed([key])), await sent(body, signed([key, older])), await sent(body, signed([older, key]))]).toEqual([
      204, 204, 204,
    ])
  })

  test('takes nothing else: another body, another key, no signature, or a copy of an old request', need ?? {}, async () => {
    const refused = [
      await sent(Buffer.from('{"patient":"Gruesse"}'), signed([key])),
      await sent(body, signed([strange])),
      await sent(body, {}),
      await sent(body, signed([key], 600)),
      await sent(body, { ...signed([key]), 'webhook-id': randomUUID() }),
    ]
    expect(refused).toEqual([401, 401, 401, 401, 401])
  })
})
