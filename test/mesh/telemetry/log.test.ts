import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { readConfig, secret } from '#mesh/config.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { redact } from '#mesh/telemetry/redact.ts'

interface Line {
  [field: string]: unknown
  err: { message: string; stack: string }
  other: { error: { message: string } }
  time: string
}

function logger() {
  const written: string[] = []
  const log = createLogger('tested', 'trace', { write: (line) => void written.push(line) })
  return { log, written, last: () => JSON.parse(written.at(-1)!) as Line }
}

describe('a log line', () => {
  test('is one JSON object that names its service, level and time', () => {
    const { log, written, last } = logger()
    log.info({ run_id: 'r-1' }, 'two\nlines')
    expect(written).toHaveLength(1)
    expect(written[0]).toMatch(/^[^\n]*\n$/)
    expect(last()).toMatchObject({ service: 'tested', level: 'info', msg: 'two\nlines', run_id: 'r-1' })
    expect(new Date(last().time).toISOString()).toBe(last().time)
  })

  test.each([
    'authorization',
    'Authorization',
    'cookie',
    'set-cookie',
    'password',
    'secret',
    'token',
    'callerToken',
    'access_token',
    'api_key',
    'apiKey',
    'x-api-key',
    'X-Signature',
    'connectionString',
    'ACTIONS_SIGNING_SECRET',
    'passphrase',
    'db_pwd',
    'bearer',
    'totp',
    'credentials',
    'accessKey',
  ])('hides what is called %s, at every depth', (name) => {
    const { log, written } = logger()
    const value = { [name]: 'sesame' }
    log.info({ ...value, a: value, b: { c: value, d: { e: value, f: { g: value } } }, list: [value, [value]] }, 'x')
    log.child({ request: value }).info({ child: value }, 'x')
    expect(written.join('')).not.toContain('sesame')
  })

  test('shows what is not secret', () => {
    const { log, last } = logger()
    log.info({ tokens: 5, secretary: 'ann', a: { b: [{ c: null }] }, when: new Date(0), bytes: 3n.toString() }, 'x')
    expect(last()).toMatchObject({ tokens: 5, secretary: 'ann', a: { b: [{ c: null }] }, when: '1970-01-01T00:00:00.000Z' })
  })

  test('hides a configured secret under whatever name', () => {
    const { log, written } = logger()
    const config = readConfig({ key: secret('KEY', '') }, { KEY: 'sesame' })
    log.info({ config, key: config.key, list: [config.key] }, `with ${String(config.key)}`)
    expect(written.join('')).not.toContain('sesame')
  })

  test('hides the password of a URL', () => {
    const { log, written, last } = logger()
    log.info({ redis: new URL('redis://ann:sesame@host:6379/') }, 'x')
    expect(written.join('')).not.toContain('sesame')
    expect(last()['redis']).toContain('ann')
  })

  test('shows an error with its causes, and nothing that a driver hung on it', () => {
    const { log, written, last } = logger()
    const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED', command: { args: ['AUTH', 'sesame'] } })
    const error = Object.assign(new Error('no luck', { cause: new AggregateError([cause], 'all failed') }), {
      detail: 'Key (card)=(sesame)',
    })
    log.error({ err: error }, 'x')
    expect(last()['err']).toMatchObject({
      type: 'Error',
      message: 'no luck',
      cause: { message: 'all failed', errors: [{ code: 'ECONNREFUSED' }] },
    })
    expect(last().err.stack).toContain('log.test.ts')
    log.error(error)
    log.error({ other: { error } }, 'x')
    expect(last().other.error.message).toBe('no luck')
    expect(written.join('')).not.toContain('sesame')
  })

  test('can be made of what has no end', () => {
    const { log, written } = logger()
    const round: Record<string, unknown> = { long: Array.from({ length: 100_000 }, (_, index) => index) }
    round['self'] = round
    const error: Error & { cause?: unknown } = new Error('round')
    error.cause = error
    log.info({ round, err: error }, 'x')
    expect(written[0]!.length).toBeLessThan(50_000)
  })
})

test('redacting changes a copy', () => {
  const original = { token: 'sesame', inner: { token: 'sesame' } }
  expect(redact(original)).toEqual({ token: '[secret]', inner: { token: '[secret]' } })
  expect(original).toEqual({ token: 'sesame', inner: { token: 'sesame' } })
})

describe('lines that were gathered', () => {
  const printedBy = (statements: string) =>
    execFileSync(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        `import { createLogger } from '#mesh/telemetry/log.ts'; const log = createLogger('x', 'info'); ${statements}`,
      ],
      { cwd: new URL('../../..', import.meta.url), encoding: 'utf8' },
    )

  test.each([
    ['its end', ''],
    ['flushNow and process.exit', 'log.flushNow(); process.exit(0)'],
  ])('are all written when the process comes to %s', (_, ending) => {
    const printed = printedBy(`for (let i = 0; i < 1000; i++) log.info({ i }, 'line'); ${ending}`)
    expect(printed.trim().split('\n')).toHaveLength(1000)
  })

  test('are written at once with an error, even when the process is then killed', () => {
    const printed = printedBy(`log.info('before'); log.error('it broke'); process.reallyExit(0)`)
    expect(printed).toContain('before')
    expect(printed).toContain('it broke')
  })
})
