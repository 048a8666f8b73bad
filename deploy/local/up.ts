/** The launcher behind `make up`: the whole mesh on this machine, until Ctrl-C. */
import { appendFileSync, realpathSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ConfigError, describeConfig, integer, optional, readConfig, text, url } from '#mesh/config.ts'
import { InUseError, keepPort, storedPort, prepareHome, secretsFile, writePrivate } from './state/state-dir.ts'
import { startMesh, type Mesh } from './mesh.ts'
import { startReceiver, type Delivery, type Receiver } from './receiver.ts'
import { killAll } from './processes/pid-file.ts'
import { needsSandbox } from './sandbox.ts'

const checkout = join(import.meta.dirname, '../..')
const spec = {
  stateDir: text('RELAY_HOME', 'The folder for data, secrets and logs', { default: join(checkout, '.relay') }),
  port: integer('RELAY_PORT', "The gateway's port; another one is taken when it is not free", { default: '8080', min: 1, max: 65_535 }),
  databaseUrl: optional(
    url('DATABASE_URL', 'A Postgres to use instead of our own, as a role that may create roles and databases', ['postgres', 'postgresql']),
  ),
  redisUrl: optional(url('REDIS_URL', 'A Redis to count limits in; without one they are counted in process', ['redis', 'rediss'])),
}

// The reader of our output may be gone (make up | head). That must not crash the launcher.
process.stdout.on('error', () => undefined)
const say = (line = ''): void => void process.stdout.write(`${line}\n`)

/** What a script needs to use the running mesh. */
function describe(mesh: Mesh, receiver: Receiver, startedAt: string): string {
  const state = {
    gateway: mesh.gateway,
    gateway_admin: mesh.gatewayAdmin,
    gateway_pid: mesh.process('gateway').pid,
    api_key: mesh.apiKey,
    services: mesh.services,
    receiver: receiver.url,
    sandbox: mesh.sandbox ?? null,
    postgres: mesh.postgres === undefined ? null : { port: mesh.postgres.port, pid: mesh.postgres.pid, data: mesh.postgres.data },
    logs: join(mesh.folder, 'logs'),
    launcher_pid: process.pid,
    started_at: startedAt,
  }
  return `${JSON.stringify(state, null, 2)}\n`
}

/** What runs where, for a person. */
function table(mesh: Mesh, receiver: Receiver, limits: string): string {
  const rows: string[][] = [['gateway', mesh.gateway, `admin http://${mesh.gatewayAdmin}`, `process ${mesh.process('gateway').pid}`]]
  for (const [name, { grpc, admin, pid }] of Object.entries(mesh.services)) {
    rows.push([name, `${grpc} (gRPC)`, `admin http://${admin}`, `process ${pid}`])
  }
  const { postgres } = mesh
  if (postgres === undefined) rows.push(['postgres', 'the one of DATABASE_URL'])
  else rows.push(['postgres', `127.0.0.1:${postgres.port}`, '', `process ${postgres.pid}`])
  if (mesh.sandbox !== undefined) {
    rows.push(['sandbox', mesh.sandbox, 'stands in for all providers', `process ${mesh.process('sandbox').pid}`])
  }
  rows.push(['receiver', receiver.url, 'prints every webhook it receives'])
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => (row.length > column + 1 ? row[column]!.length : 0))))
  const lines = rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd())
  return [
    ...lines,
    '',
    `  limits    ${limits}`,
    mesh.sandbox === undefined
      ? '  accounts  are connected at the real providers, by the client ids that were given'
      : `  accounts  are the sandbox's; what they send is at ${mesh.sandbox}/sandbox/inbox (with real ones: set GOOGLE_CLIENT_ID …)`,
    '  webhooks  go to public addresses, and in local mode also to this machine (127.0.0.0/8, ::1); nowhere else private',
    `  logs      ${shown(join(mesh.folder, 'logs'))}`,
    ...(postgres === undefined ? [] : [`  data      ${shown(postgres.data)}`]),
    `  scripts   ${shown(join(mesh.folder, 'local.json'))} has all of this as JSON`,
    `  API key   ${keyLine(mesh)}`,
  ].join('\n')
}

/** The key itself appears only at the start that created it; later it is only in a file that its owner can read. */
const keyLine = ({ apiKey, apiKeyIsNew, folder }: Mesh): string =>
  apiKeyIsNew
    ? `${apiKey} (an admin's, shown this once; kept in ${shown(secretsFile(folder))})`
    : `an admin's, kept in ${shown(secretsFile(folder))}`

const shown = (path: string): string => {
  const short = relative(process.cwd(), path)
  return short.startsWith('..') ? path : short
}

/** Lines to paste, in order. Each works as it is. */
function examples(mesh: Mesh, receiver: Receiver, description: string): string {
  const call = (path: string, headers: readonly string[] = [], body?: string): string =>
    [
      `curl -sS -w '\\n' ${mesh.gateway}${path}`,
      ...['Authorization: Bearer $KEY', ...headers].map((header) => `-H "${header}"`),
      ...(body === undefined ? [] : [`-H 'Content-Type: application/json' -d ${body}`]),
    ].join(' ')
  const preview = { action: 'webhook.save', params: { url: `${receiver.url}/hook`, method: 'POST', body: { test: 'hello' } } }
  const key = `Idempotency-Key: first-${Date.now()}`
  // sed, because jq may be missing; tee, so that the response is shown as well.
  const keepField = (name: string): string => `tee /dev/stderr | sed -n 's/.*"${name}": *"\\([^"]*\\)".*/\\1/p'`
  const quoted = `'${description.replaceAll("'", String.raw`'\''`)}'`
  return [
    'The API key, from any folder:',
    String.raw`KEY=$(sed -n 's/.*"api_key": *"\([^"]*\)".*/\1/p' ${quoted})`,
    '',
    '1. List what can be done:',
    call('/actions'),
    '',
    '2. See what would happen (and keep its preview_id):',
    `PREVIEW=$(${call('/actions/preview', [], `'${JSON.stringify(preview)}'`)} | ${keepField('preview_id')})`,
    '',
    '3. Do it, once:',
    call('/actions/execute', [key], `"{\\"preview_id\\":\\"$PREVIEW\\"}"`),
    '',
    'And again with the same key and no valid preview: the same run_id comes back, and nothing is sent.',
    call('/actions/execute', [key], `'{"preview_id":"expired-or-invalid"}'`),
    ...accountExamples(mesh, call, keepField),
  ].join('\n')
}

type Call = (path: string, headers?: readonly string[], body?: string) => string

/** Lines to paste that connect an account and send a mail from it. */
function accountExamples({ sandbox }: Mesh, call: Call, keepField: (name: string) => string): string[] {
  const mail = { to: ['ada@example.com'], subject: 'Hello from Relay', text: 'Sent once.' }
  const preview = { action: 'gmail.send_email', params: mail }
  const consent = `curl -sS -w '\\n' ${sandbox}/sandbox/consent -H 'Content-Type: application/json' -d "{\\"start_url\\":\\"$START\\"}"`
  return [
    '',
    '4. Connect a Google account: open the start_url in a browser within ten minutes, and continue from the page that it shows.',
    `START=$(${call('/oauth/google/authorize')} | ${keepField('start_url')})`,
    ...(sandbox === undefined
      ? []
      : [
          '',
          "Then the browser shows the sandbox's consent page: choose you@example.com, and Relay says that it is connected. Without a browser:",
          consent,
        ]),
    '',
    '5. Send a mail from it, once: see it first, then execute.',
    `PREVIEW=$(${call('/actions/preview', [], `'${JSON.stringify(preview)}'`)} | ${keepField('preview_id')})`,
    call('/actions/execute', [`Idempotency-Key: mail-${Date.now()}`], `"{\\"preview_id\\":\\"$PREVIEW\\"}"`),
    ...(sandbox === undefined ? [] : ['', `And there it is; nothing has left this machine:`, `curl -sS -w '\\n' ${sandbox}/sandbox/inbox`]),
  ]
}

function onDelivery(log: string, { method, path, headers, body, at }: Delivery): void {
  appendFileSync(log, `${JSON.stringify({ at, method, path, headers, body })}\n`, { mode: 0o600 })
  const signature = headers['x-signature'] === undefined ? 'unsigned' : `X-Signature ${String(headers['x-signature']).slice(0, 12)}…`
  // External text goes to a terminal only as JSON, without control characters.
  say(`receiver: ${JSON.stringify(`${method} ${path}`)} ${JSON.stringify(body.slice(0, 200))} (${signature})`)
}

async function main(): Promise<number> {
  const config = readConfig(spec)
  prepareHome(config.stateDir)
  const stateDir = realpathSync(config.stateDir)
  const startedAt = new Date().toISOString()
  const description = join(stateDir, 'local.json')
  const giveUp = new AbortController()
  let end: (code: number) => void = () => undefined
  const ended = new Promise<number>((resolve) => (end = resolve))

  let askedAt = 0
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (askedAt === 0) {
        askedAt = performance.now()
        say('\nStopping: finishing work in progress, then stopping everything in order (Ctrl-C again stops at once) …')
        giveUp.abort(new Error('stopped'))
        end(0)
      } else if (performance.now() - askedAt > 500) {
        // Within that time it is the same Ctrl-C, reported by the terminal and by make.
        say('Stopping at once.')
        killAll(stateDir)
        process.exit(130)
      }
    })
  }

  say('Relay, local mode')
  const start = performance.now()
  let mesh: Mesh | undefined
  let receiver: Receiver | undefined
  const describeTo = (): void => {
    if (mesh !== undefined && receiver !== undefined) writePrivate(description, describe(mesh, receiver, startedAt))
  }
  try {
    mesh = await startMesh({
      folder: stateDir,
      gatewayPort: config.port,
      databaseUrl: config.databaseUrl?.href,
      redisUrl: config.redisUrl?.href,
      sandbox: needsSandbox(process.env),
      env: process.env,
      log: say,
      signal: giveUp.signal,
      onStart: describeTo,
      onFailure: (error) => {
        say(`\nCannot go on: ${error.message}`)
        end(1)
      },
    })
    receiver = await startReceiver(storedPort(stateDir, 'receiver') ?? 8081, (delivery) =>
      onDelivery(join(stateDir, 'logs/receiver.log'), delivery),
    )
    keepPort(stateDir, 'receiver', Number(new URL(receiver.url).port))
    describeTo()
    const inRedis = config.redisUrl !== undefined
    const limits = inRedis ? 'counted in the Redis of REDIS_URL' : 'counted in process (set REDIS_URL to count them in Redis)'
    say(`\nRelay runs (started in ${((performance.now() - start) / 1000).toFixed(1)} s). Ctrl-C stops it; its data stays.\n`)
    say(`${table(mesh, receiver, limits)}\n`)
    say(`Try it: paste these lines into another terminal, one after the other.\n\n${examples(mesh, receiver, description)}\n`)
    return await ended
  } catch (error) {
    if (giveUp.signal.aborted) return 0
    if (error instanceof InUseError) {
      say(`Relay already runs from this folder (process ${error.pid}): stop that first, or set RELAY_HOME to another folder.`)
    } else say(`Relay could not start: ${error instanceof Error ? error.message : String(error)}`)
    return 1
  } finally {
    await mesh?.stop()
    await receiver?.stop()
    if (mesh !== undefined) rmSync(description, { force: true })
    if (mesh !== undefined || giveUp.signal.aborted) say('Everything is stopped.')
  }
}

if (process.argv.includes('--help')) say(`make up: starts Relay on this machine. It reads\n${describeConfig(spec)}`)
else {
  try {
    process.exit(await main())
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    say(error.message)
    process.exit(1)
  }
}
