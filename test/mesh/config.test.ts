import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ConfigError,
  type Variable,
  choice,
  describeConfig,
  duration,
  flag,
  formatAddress,
  integer,
  list,
  listenAddress,
  optional,
  readConfig,
  secret,
  text,
  url,
} from '#mesh/config.ts'

/** What one variable makes of a value, or the problem it has with it. */
function read<T>(variable: Variable<T>, value?: string): T {
  return readConfig({ value: variable }, { [variable.name]: value }).value
}

describe('a configuration', () => {
  const spec = {
    name: text('NAME', 'What it is called'),
    size: integer('SIZE', 'How big it is', { min: 1, max: 10 }),
    key: secret('KEY', 'What opens it'),
    wait: duration('WAIT', 'How long it waits', { default: '3s' }),
    site: optional(url('SITE', 'Where it is', ['http', 'https'])),
  }

  test('reports every problem at once, by variable and with its purpose', () => {
    const wrong = () => readConfig(spec, { SIZE: '11', WAIT: 'soon', SITE: 'ftp://example.com' })
    expect(wrong).toThrow(ConfigError)
    for (const part of [
      'NAME is not set (What it is called)',
      'SIZE is 11, not between 1 and 10',
      'KEY is not set',
      'WAIT is "soon"',
      'SITE is not a URL with http or https',
    ]) {
      expect(wrong).toThrow(part)
    }
  })

  test('reads an empty variable as unset', () => {
    expect(readConfig(spec, { NAME: 'a', SIZE: '1', KEY: 'k', WAIT: '', SITE: '' })).toMatchObject({ wait: 3000, site: undefined })
    expect(() => readConfig(spec, { NAME: '', SIZE: '1', KEY: 'k' })).toThrow('NAME is not set')
  })

  test('is immutable, with its lists and addresses', () => {
    const config = readConfig({ names: list('NAMES', ''), listen: listenAddress('LISTEN', '') }, { NAMES: 'a,b', LISTEN: 'localhost:1' })
    expect(() => Object.assign(config, { names: [] })).toThrow(TypeError)
    expect(() => (config.names as string[]).push('c')).toThrow(TypeError)
    expect(() => Object.assign(config.listen, { port: 2 })).toThrow(TypeError)
  })

  test('describes every variable, its purpose and its default', () => {
    const described = describeConfig(spec)
    for (const part of [
      'NAME\n    What it is called (required)',
      'WAIT\n    How long it waits (default 3s)',
      'SITE\n    Where it is (optional)',
    ]) {
      expect(described).toContain(part)
    }
  })
})

describe('a secret', () => {
  const config = readConfig({ key: secret('KEY', 'What opens it') }, { KEY: 'open sesame' })

  test('is never printed, however it is printed', () => {
    const printed = [
      JSON.stringify(config),
      inspect(config, { depth: 10, showHidden: true }),
      String(config.key),
      `${String(config.key)} and more`,
      JSON.stringify([config.key]),
    ]
    for (const each of printed) {
      expect(each).not.toContain('sesame')
      expect(each).toContain('[secret]')
    }
    expect(Object.keys(config.key)).toEqual([])
  })

  test('is revealed on explicit request', () => {
    expect(config.key.reveal()).toBe('open sesame')
  })

  test('is not repeated in the error about a URL that contains one', () => {
    const wrong = () =>
      readConfig({ a: url('A', '', ['postgres']), b: url('B', '', ['postgres']) }, { A: 'mysql://ann:sesame@host/', B: 'ann:sesame@host' })
    expect(wrong).toThrow(ConfigError)
    expect(wrong).not.toThrow('sesame')
  })
})

describe('values', () => {
  test.each([
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 300_000],
    ['24h', 86_400_000],
    ['0s', 0],
  ])('the duration %s is %d ms', (written, ms) => {
    expect(read(duration('D', ''), written)).toBe(ms)
  })

  test.each(['30', '1.5s', '-1s', ' 1s', '1 s', '1d', 's', '1s\n', '99999999999999999h'])('%j is not a duration', (written) => {
    expect(() => read(duration('D', ''), written)).toThrow(ConfigError)
  })

  test('a duration stays within its limits', () => {
    const limited = duration('D', '', { minMs: 1000, maxMs: 60_000 })
    expect([read(limited, '1s'), read(limited, '1m')]).toEqual([1000, 60_000])
    expect(() => read(limited, '999ms')).toThrow('not between')
    expect(() => read(limited, '61s')).toThrow('not between')
  })

  test('a whole number is read as written, or rejected', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (number) => read(integer('N', ''), String(number)) === number))
    for (const written of ['1.5', '1e3', '0x10', '', ' 1', 'NaN', '-1', '9007199254740993']) {
      expect(() => read(integer('N', ''), written), written).toThrow(ConfigError)
    }
    expect(read(integer('N', '', { min: -5 }), '-5')).toBe(-5)
  })

  test('a list loses its blanks and empty items', () => {
    expect(read(list('L', ''), ' a, b ,,c,')).toEqual(['a', 'b', 'c'])
    expect(read(list('L', ''))).toEqual([])
  })

  test.each([
    ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
    ['localhost:65535', { host: 'localhost', port: 65535 }],
    ['[::1]:7101', { host: '::1', port: 7101 }],
  ])('%s is where to listen, and is written so again', (written, address) => {
    expect(read(listenAddress('A', ''), written)).toEqual(address)
    expect(formatAddress(address)).toBe(written)
  })

  test.each(['7101', ':7101', 'host:', 'host:65536', '::1:7101', 'a b:1', 'host:7101/'])('%j is not a listen address', (written) => {
    expect(() => read(listenAddress('A', ''), written)).toThrow('not host:port')
  })

  test('a flag is true or false and nothing similar', () => {
    expect(['true', '1', 'false', '0', undefined].map((written) => read(flag('F', ''), written))).toEqual([true, true, false, false, false])
    for (const written of ['yes', 'TRUE', 'on']) expect(() => read(flag('F', ''), written)).toThrow('neither true nor false')
  })

  test('a choice is one of its values, and no inherited property', () => {
    const colour = choice('C', '', ['red', 'green'])
    expect(read(colour, 'red')).toBe('red')
    for (const written of ['Red', 'blue', 'constructor', '__proto__']) expect(() => read(colour, written)).toThrow('not one of red, green')
  })
})
