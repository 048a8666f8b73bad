/** The program itself: how it finds a mesh, what it leaves behind, and how it ends. */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { limits } from '../../gate/criteria.ts'
import { readOptions } from '../../gate/options.ts'
import { runGate } from '../../gate/program.ts'
import { type GateFaults, startGateMesh } from '../fakes/gate-mesh.ts'

const folder = mkdtempSync(join(tmpdir(), 'relay-gate-'))
afterAll(() => rmSync(folder, { recursive: true }))
const local = join(folder, 'local.json')
const json = join(folder, 'result.json')
const baseline = join(folder, 'baseline.json')

interface Ended {
  code: number | null
  text: string
}

/** `interruptAt`: Ctrl-C once this is said. */
function run(args: readonly string[], env: Record<string, string> = {}, interruptAt?: RegExp): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../gate/run.ts'), ...args], {
      env: { PATH: process.env.PATH, RELAY_HOME: folder, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let text = ''
    child.stdout.on('data', (chunk: Buffer) => {
      const before = interruptAt?.test(text)
      text += chunk.toString()
      if (before === false && interruptAt?.test(text) === true) child.kill('SIGINT')
    })
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
    child.on('close', (code) => resolve({ code, text }))
  })
}

const short = ['--seconds', '1.5', '--rate', '150', '--warm-up', '0.4', '--settle', '0', '--baseline', baseline]

// The latencies of a machine that runs tests are no release's.
const patient = { ...limits, lightP99Ms: 20_000, webhookP95Ms: 20_000 }

/** The same without a process of its own, so that its limits can be patient. */
async function against(faults: GateFaults, args: readonly string[]): Promise<Ended> {
  const mesh = await startGateMesh(faults)
  try {
    writeFileSync(local, mesh.local)
    const lines: string[] = []
    const options = readOptions([...short, ...args], { RELAY_HOME: folder })!
    const code = await runGate(options, new AbortController().signal, (line) => void lines.push(line), patient)
    return { code, text: lines.join('\n') }
  } finally {
    await mesh.stop()
    rmSync(local)
  }
}

test('where nothing runs it says how to start it, and ends with 2', async () => {
  expect(await run([])).toMatchObject({ code: 2, text: expect.stringContaining('make up') })
  writeFileSync(local, JSON.stringify({ gateway: 'http://127.0.0.1:1', gateway_admin: '', api_key: 'k', services: {} }))
  expect(await run([])).toMatchObject({ code: 2, text: expect.stringContaining('does not answer') })
  writeFileSync(local, '{"gateway":')
  expect(await run([])).toMatchObject({ code: 2, text: expect.stringContaining('local.json does not say') })
  rmSync(local)
})

test('invalid options are rejected before anything is sent', async () => {
  for (const args of [['--rate', '0'], ['--seconds', '1e9'], ['--what'], ['--save-baseline', '--no-baseline'], ['--prometheus', 'here']]) {
    expect(() => readOptions(args, { RELAY_HOME: folder }), args.join(' ')).toThrow(/--/)
  }
  const elsewhere = { GATE_URL: 'http://127.0.0.1:1', GATE_API_KEY: 'a-secret-key' }
  const { code, text } = await run([], elsewhere)
  expect({ code, text }).toMatchObject({ code: 2, text: expect.stringContaining('GATE_ADMINS') })
  expect(text).not.toContain('a-secret-key')
})

test('as a program it ends with 1 where the mesh fails, and shows why', async () => {
  const mesh = await startGateMesh({ duplicate: 'other run' })
  try {
    writeFileSync(local, mesh.local)
    const { code, text } = await run([...short, '--no-baseline'])
    expect({ code, text }).toMatchObject({ code: 1, text: expect.stringMatching(/webhooks not delivered exactly once .*FAIL/) })
  } finally {
    await mesh.stop()
    rmSync(local)
  }
})

test('Ctrl-C ends it at once, even while it waits for a response, without a verdict', async () => {
  const mesh = await startGateMesh({ webhookMs: 20_000 })
  try {
    writeFileSync(local, mesh.local)
    const { code, text } = await run(['--seconds', '60', '--rate', '50', '--warm-up', '0', '--no-baseline'], {}, / of 60 s: /)
    expect({ code, text }).toMatchObject({ code: 2, text: expect.stringContaining('stopped') })
  } finally {
    await mesh.stop()
    rmSync(local)
  }
})

test('without a baseline it cannot judge; a run that passes makes one; the next is held to it', async () => {
  expect(await against({}, [])).toMatchObject({ code: 2, text: expect.stringContaining('no baseline') })
  expect(await against({}, ['--no-baseline'])).toMatchObject({ code: 0, text: expect.stringContaining('PASS') })

  const failing = await against({ duplicate: 'same run' }, ['--save-baseline'])
  expect(failing).toMatchObject({ code: 1, text: expect.stringContaining('Not saved') })
  expect(existsSync(baseline)).toBe(false)

  const saved = await against({}, ['--save-baseline'])
  expect(saved).toMatchObject({ code: 0, text: expect.stringContaining('Saved') })
  const cpuUsBy = { gateway: 1000, actions: 1000 }
  expect(JSON.parse(readFileSync(baseline, 'utf8'))).toMatchObject({ node: process.version, ratePerSecond: 150, cpuUsBy })

  const dear = await against({ cpuMs: 3.5 }, ['--json', json])
  expect(dear).toMatchObject({ code: 1, text: expect.stringMatching(/CPU of a request.*FAIL/) })
  const evidence = { answers: { list: { ok: expect.any(Number) } } }
  expect(JSON.parse(readFileSync(json, 'utf8'))).toMatchObject({ verdict: 'fail', evidence })
  expect(dear.text + readFileSync(json, 'utf8')).not.toContain('gate-mesh-key')
}, 60_000)
